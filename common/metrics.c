/* SPDX-License-Identifier: MIT */

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/instant.h"
#include "common/metrics.h"

/* Backslash and line feed, and in label values the double quote: all that the format escapes. */
static void append_escaped(Buffer *buffer, const char *text, bool is_label) {
        for (; *text != '\0'; text++) {
                if (*text == '\n')
                        buffer_append(buffer, "\\n", 2);
                else if (*text == '\\' || (is_label && *text == '"')) {
                        buffer_append_char(buffer, '\\');
                        buffer_append_char(buffer, *text);
                } else
                        buffer_append_char(buffer, *text);
        }
}

static void append_family(Buffer *buffer, const char *name, const char *help, const char *type) {
        buffer_printf(buffer, "# HELP %s ", name);
        append_escaped(buffer, help, /* is_label= */ false);
        buffer_printf(buffer, "\n# TYPE %s %s\n", name, type);
}

void metrics_counter(Buffer *buffer, const char *name, const char *help) {
        append_family(buffer, name, help, "counter");
}

void metrics_gauge(Buffer *buffer, const char *name, const char *help) {
        append_family(buffer, name, help, "gauge");
}

static void append_name(Buffer *buffer, const char *name, const char *labels) {
        if (labels[0] != '\0')
                buffer_printf(buffer, "%s{%s} ", name, labels);
        else
                buffer_printf(buffer, "%s ", name);
}

/* As few digits as give the same number again. */
static void append_real(Buffer *buffer, double value) {
        char text[32];

        if (isnan(value) || isinf(value)) {
                buffer_printf(buffer, "%s", isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
                return;
        }
        (void)snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) != value)
                (void)snprintf(text, sizeof(text), "%.17g", value);
        buffer_printf(buffer, "%s", text);
}

void metrics_sample(Buffer *buffer, const char *name, const char *labels, uint64_t value) {
        append_name(buffer, name, labels);
        buffer_printf(buffer, "%llu\n", (unsigned long long)value);
}

void metrics_sample_real(Buffer *buffer, const char *name, const char *labels, double value) {
        append_name(buffer, name, labels);
        append_real(buffer, value);
        buffer_append_char(buffer, '\n');
}

void metrics_label(Buffer *buffer, const char *name, const char *value) {
        buffer_printf(buffer, "%s%s=\"", buffer->size > 0 ? "," : "", name);
        append_escaped(buffer, value, /* is_label= */ true);
        buffer_append_char(buffer, '"');
}

void metrics_counter_value(Buffer *buffer, const char *name, const char *help, uint64_t value) {
        metrics_counter(buffer, name, help);
        metrics_sample(buffer, name, "", value);
}

void metrics_gauge_value(Buffer *buffer, const char *name, const char *help, uint64_t value) {
        metrics_gauge(buffer, name, help);
        metrics_sample(buffer, name, "", value);
}

void metrics_histogram(Buffer *buffer, const char *name, const char *help, const Histogram *histogram) {
        uint64_t total = 0;

        append_family(buffer, name, help, "histogram");
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
                total += histogram->buckets[i];
                buffer_printf(buffer, "%s_bucket{le=\"", name);
                append_real(buffer, (double)histogram_bound_usec(i) / (double)USEC_PER_SEC);
                buffer_printf(buffer, "\"} %llu\n", (unsigned long long)total);
        }
        buffer_printf(buffer, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)histogram->count);
        buffer_printf(buffer, "%s_sum ", name);
        append_real(buffer, (double)histogram->sum_usec / (double)USEC_PER_SEC);
        buffer_printf(buffer, "\n%s_count %llu\n", name, (unsigned long long)histogram->count);
}

/* Reads a small file of /proc; the result is always terminated, and empty when it can't be read. */
static void read_proc(const char *path, char *ret, size_t size) {
        FILE *file = fopen(path, "re");
        size_t n = 0;

        if (file) {
                n = fread(ret, 1, size - 1, file);
                (void)fclose(file);
        }
        ret[n] = '\0';
}

static void memory_sizes(uint64_t *ret_virtual, uint64_t *ret_resident) {
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        unsigned long long n_virtual = 0, n_resident = 0;
        char text[128];

        read_proc("/proc/self/statm", text, sizeof(text));
        (void)sscanf(text, "%llu %llu", &n_virtual, &n_resident);
        *ret_virtual = n_virtual * page;
        *ret_resident = n_resident * page;
}

static uint64_t max_fds(void) {
        struct rlimit limit = {};

        (void)getrlimit(RLIMIT_NOFILE, &limit);
        return limit.rlim_cur;
}

static uint64_t open_fds(void) {
        DIR *directory = opendir("/proc/self/fd");
        uint64_t n = 0;

        if (!directory)
                return 0;
        while (readdir(directory))
                n++;
        (void)closedir(directory);
        return n > 3 ? n - 3 : 0; /* without ".", ".." and the one that we read through */
}

static double cpu_seconds(void) {
        struct rusage usage = { 0 };

        (void)getrusage(RUSAGE_SELF, &usage);
        return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / (double)USEC_PER_SEC;
}

static double start_seconds(void) {
        char text[1024], *after_name;
        unsigned long long ticks = 0;
        const Instant now = instant_now();
        const double booted = ((double)now.real_usec - (double)now.usec) / (double)USEC_PER_SEC;

        read_proc("/proc/self/stat", text, sizeof(text));
        after_name = strrchr(text, ')'); /* the name, field 2, may hold anything; starttime is field 22, proc(5) */
        if (!after_name || sscanf(after_name + 1,
                                   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                                   &ticks) != 1)
                return 0;
        return booted + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void metrics_process(Buffer *buffer, const char *component) {
        _cleanup_(buffer_done) Buffer labels = { 0 };
        uint64_t n_virtual, n_resident;

        memory_sizes(&n_virtual, &n_resident);
        metrics_gauge_value(buffer, "process_resident_memory_bytes", "Resident memory size in bytes", n_resident);
        metrics_gauge_value(buffer, "process_virtual_memory_bytes", "Virtual memory size in bytes", n_virtual);
        metrics_gauge_value(buffer, "process_open_fds", "Number of open file descriptors", open_fds());
        metrics_gauge_value(buffer, "process_max_fds", "Maximum number of open file descriptors", max_fds());
        metrics_counter(buffer, "process_cpu_seconds_total", "Total user and system CPU time spent in seconds");
        metrics_sample_real(buffer, "process_cpu_seconds_total", "", cpu_seconds());
        metrics_gauge(
                buffer, "process_start_time_seconds", "Start time of the process since the Unix epoch in seconds");
        metrics_sample_real(buffer, "process_start_time_seconds", "", start_seconds());

        metrics_label(&labels, "component", component);
        metrics_label(&labels, "version", COMPOZY_VERSION);
        buffer_append_char(&labels, '\0');
        if (labels.failed) {
                buffer->failed = true;
                return;
        }
        metrics_gauge(buffer, "compozy_build_info", "Version of the running program; always 1");
        metrics_sample(buffer, "compozy_build_info", labels.data, 1);
}
