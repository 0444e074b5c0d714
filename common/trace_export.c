/* SPDX-License-Identifier: MIT */

/*
 * The loop appends spans to the last of a list of chunks, under a lock that is never held while anything is sent. The
 * thread takes the first chunk when it is full or old enough, sends it, and sends it again with growing pauses as long
 * as that makes sense: when nobody is there, and on the answers that OTLP calls retryable. Meanwhile the others wait,
 * and what comes beyond the limit is dropped. A chunk is given up after ATTEMPTS_MAX; any other answer than 2xx drops
 * it at once, since the same bytes will not please better later.
 *
 * The thread sleeps in curl_multi_poll(), from which curl_multi_wakeup() (the one call of curl that may come from
 * another thread) gets it at any time: so a stop waits neither for a pause nor for a collector that hangs.
 *
 * Trouble is told to the loop as news of a change: it began, it is over. In between counters tell.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "common/curl_library.h"
#include "common/instant.h"
#include "common/metrics.h"
#include "common/trace_export.h"
#include "proto/emit.h"
#include "proto/scan.h"

#define PATH "/v1/traces"
#define CHUNK_SPANS 512                   /* as OpenTelemetry's own exporters */
#define GATHER_USEC (500 * USEC_PER_MSEC) /* for a chunk that is not full: soon enough to look at */
#define CONNECT_TIMEOUT_MS 3000L
#define REQUEST_TIMEOUT_MS 10000L
#define RETRY_FIRST_USEC (500 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (30 * USEC_PER_SEC)
#define RETRY_AFTER_MAX_SEC 60 /* of what a collector may ask for */
#define ATTEMPTS_MAX 6         /* with the pauses between them a quarter of a minute */
#define ANSWER_BYTES_MAX 16384 /* a success is "{}"; what is longer is not read */
#define HEADERS_FILE_BYTES_MAX 16384
#define CA_FILE_BYTES_MAX (1024 * 1024) /* all that Debian trusts is a fifth of that */
#define HEADERS_MAX 32

typedef struct Chunk {
        struct Chunk *next;
        Buffer spans;
        size_t n_spans;
        uint64_t since_usec; /* when its first span came */
} Chunk;

struct TraceExporter {
        Tracer tracer; /* the loop's */
        uint64_t queue_limit;
        pthread_t thread;
        bool has_thread;
        int news_fd; /* the thread writes, the loop reads */
        struct event *news;
        void (*on_news)(const TraceExportNews *news);

        pthread_mutex_t lock; /* over these: */
        Chunk *first, *last;
        size_t n_waiting; /* spans in all chunks, and in the one that is being sent */
        uint64_t n_exported, n_dropped, n_requests, n_failed_requests;
        uint64_t stop_usec; /* when to give up; USEC_NEVER: not stopping */
        bool is_trouble;
        char why[256];

        /* the thread's, after it was started */
        CURLM *multi;
        CURL *curl;
        struct curl_slist *headers;
        char *url;
        Buffer head; /* of each request: the resource */
        Buffer body, answer;
        Chunk *sending;
        bool is_out; /* its request is under way */
        unsigned n_attempts;
        uint64_t retry_usec;
};

/* options */

static _printf_(3, 4) bool refuse(char *ret_why, size_t size, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(ret_why, size, format, arguments);
        va_end(arguments);
        return false;
}

static void curl_url_cleanupp(CURLU **url) {
        curl_url_cleanup(*url);
}

static void curl_freep(char **text) {
        curl_free(*text);
}

static bool has_part(CURLU *url, CURLUPart part) {
        _cleanup_(curl_freep) char *text = NULL;

        return curl_url_get(url, part, &text, 0) == CURLUE_OK;
}

/* What curl makes of it, so that what was checked is what is used. */
static bool make_url(const char *endpoint, char **ret, char *ret_why, size_t size) {
        static const char key[] = "tracing.otlp_endpoint";
        _cleanup_(curl_url_cleanupp) CURLU *url = curl_url();
        _cleanup_(curl_freep) char *scheme = NULL, *path = NULL, *text = NULL;
        _cleanup_(buffer_done) Buffer full = {};
        Slice start;

        if (!url || curl_url_set(url, CURLUPART_URL, endpoint, 0) != CURLUE_OK ||
                curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
                curl_url_get(url, CURLUPART_PATH, &path, 0) != CURLUE_OK)
                return refuse(ret_why, size, "%s: it is no address like http://localhost:4318", key);
        if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
                return refuse(ret_why, size,
                        "%s: a name or password does not belong there, but in tracing.headers_file", key);
        if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
                return refuse(ret_why, size, "%s: it begins with %s://, not with http:// or https://", key, scheme);
        if (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT))
                return refuse(ret_why, size, "%s: it ends with a ? or # part, which OTLP has no use for", key);

        start = slice_of(path);
        while (start.size > 0 && start.data[start.size - 1] == '/')
                start.size--;
        buffer_append_slice(&full, start);
        if (start.size < strlen(PATH) || memcmp(start.data + start.size - strlen(PATH), PATH, strlen(PATH)) != 0)
                buffer_append_slice(&full, SLICE(PATH));
        buffer_append_char(&full, '\0');
        if (full.failed || curl_url_set(url, CURLUPART_PATH, full.data, 0) != CURLUE_OK ||
                curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
                return refuse(ret_why, size, "%s: memory is out", key);
        *ret = strdup(text);
        return *ret || refuse(ret_why, size, "%s: memory is out", key);
}

/* One "Name: value". The value is a secret, so no error shows it. */
static bool header_is_good(Slice line) {
        const char *colon = memchr(line.data, ':', line.size);

        if (!colon || colon == line.data)
                return false;
        for (const char *c = line.data; c < colon; c++)
                if (*c <= ' ' || *c >= 0x7F)
                        return false;
        for (const char *c = colon; c < line.data + line.size; c++)
                if ((unsigned char)*c < ' ' && *c != '\t')
                        return false;
        return true;
}

static bool add_header(struct curl_slist **list, const char *text) {
        struct curl_slist *longer = curl_slist_append(*list, text);

        if (longer)
                *list = longer;
        return longer;
}

static Slice take_line(Slice *text) {
        const char *end = memchr(text->data, '\n', text->size);
        Slice line = { text->data, end ? (size_t)(end - text->data) : text->size };

        *text = slice_after(*text, end ? line.size + 1 : line.size);
        while (line.size > 0 && (line.data[line.size - 1] == '\r' || line.data[line.size - 1] == ' '))
                line.size--;
        return line;
}

/* One byte more than `max` at most. */
static int read_file(const char *path, size_t max, Buffer *ret) {
        int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
        ssize_t n = 0;

        if (fd < 0)
                return -errno;
        r = buffer_reserve(ret, max + 1);
        while (r == 0 && ret->size <= max) {
                n = read(fd, ret->data + ret->size, max + 1 - ret->size);
                if (n <= 0)
                        break;
                ret->size += (size_t)n;
        }
        if (n < 0)
                r = -errno;
        (void)close(fd);
        return r;
}

static bool read_headers(const char *path, struct curl_slist **list, char *ret_why, size_t size) {
        static const char key[] = "tracing.headers_file";
        _cleanup_(buffer_done) Buffer text = {};
        unsigned number = 0, n = 0;
        Slice rest;
        int r;

        if (path[0] == '\0')
                return true;
        r = read_file(path, HEADERS_FILE_BYTES_MAX, &text);
        if (r < 0)
                return refuse(ret_why, size, "%s: %s: %s", key, path, strerror(-r));
        if (text.size > HEADERS_FILE_BYTES_MAX)
                return refuse(ret_why, size, "%s: %s: it has more than %d bytes", key, path, HEADERS_FILE_BYTES_MAX);

        for (rest = buffer_slice(&text); rest.size > 0;) {
                const Slice line = take_line(&rest);
                char one[1024];

                number++;
                if (line.size == 0 || line.data[0] == '#')
                        continue;
                if (!header_is_good(line) || line.size >= sizeof(one))
                        return refuse(ret_why, size, "%s: %s:%u: it is no \"Name: value\" of at most %zu bytes", key,
                                path, number, sizeof(one) - 1);
                if (++n > HEADERS_MAX)
                        return refuse(ret_why, size, "%s: %s: it has more than %d headers", key, path, HEADERS_MAX);
                (void)snprintf(one, sizeof(one), "%.*s", SLICE_ARG(line));
                if (!add_header(list, one))
                        return refuse(ret_why, size, "%s: memory is out", key);
        }
        return true;
}

/* curl would say so with the first request. */
static bool check_ca(const TraceExportOptions *options, const char *url, char *ret_why, size_t size) {
        static const char key[] = "tracing.tls_ca";
        _cleanup_(buffer_done) Buffer text = {};
        const char *path = options->tls_ca;
        X509 *certificate;
        BIO *bio;
        int r;

        if (path[0] == '\0')
                return true;
        if (strncmp(url, "https://", 8) != 0)
                return refuse(ret_why, size, "%s: tracing.otlp_endpoint is no https://", key);
        r = read_file(path, CA_FILE_BYTES_MAX, &text);
        if (r < 0)
                return refuse(ret_why, size, "%s: %s: %s", key, path, strerror(-r));
        if (text.size > CA_FILE_BYTES_MAX)
                return refuse(ret_why, size, "%s: %s: it has more than %d bytes", key, path, CA_FILE_BYTES_MAX);

        bio = BIO_new_mem_buf(text.data, (int)text.size);
        certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
        (void)BIO_free(bio);
        if (!certificate)
                return refuse(ret_why, size, "%s: %s: it holds no certificate in PEM", key, path);
        X509_free(certificate);
        return true;
}

static void curl_slist_freep(struct curl_slist **list) {
        if (*list) /* else there may be no libcurl */
                curl_slist_free_all(*list);
}

bool trace_export_check(const TraceExportOptions *options, char *ret_why, size_t size) {
        _cleanup_(curl_slist_freep) struct curl_slist *headers = NULL;
        _cleanup_(free_charp) char *url = NULL;

        return curl_library_load(ret_why, size) && make_url(options->endpoint, &url, ret_why, size) &&
               check_ca(options, url, ret_why, size) && read_headers(options->headers_file, &headers, ret_why, size);
}

/* requests; from here on the thread's */

static void put_attribute(Buffer *buffer, const char *key, const char *value) {
        if (!value || value[0] == '\0')
                return;
        emit_object(buffer, NULL);
        emit_name(buffer, "key", key);
        emit_object(buffer, "value");
        emit_string(buffer, "stringValue", value);
        emit_object_end(buffer);
        emit_object_end(buffer);
}

/* Up to where the spans begin. What closes it is REQUEST_END. */
#define REQUEST_END "]}]}]}"

static void put_head(Buffer *buffer, const TraceExportOptions *options) {
        emit_object(buffer, NULL);
        emit_array(buffer, "resourceSpans");
        emit_object(buffer, NULL);
        emit_object(buffer, "resource");
        emit_array(buffer, "attributes");
        put_attribute(buffer, "service.name", options->service);
        put_attribute(buffer, "service.namespace", options->subject_prefix);
        put_attribute(buffer, "service.instance.id", options->instance_id);
        put_attribute(buffer, "service.version", options->version);
        put_attribute(buffer, "host.name", options->hostname);
        put_attribute(buffer, "telemetry.sdk.name", "compozy");
        put_attribute(buffer, "telemetry.sdk.language", "c");
        put_attribute(buffer, "telemetry.sdk.version", options->version);
        emit_array_end(buffer);
        emit_object_end(buffer);
        emit_array(buffer, "scopeSpans");
        emit_object(buffer, NULL);
        emit_object(buffer, "scope");
        emit_string(buffer, "name", options->service);
        emit_string(buffer, "version", options->version);
        emit_object_end(buffer);
        emit_array(buffer, "spans");
}

static size_t on_answer(char *data, size_t one, size_t n, void *userdata) {
        TraceExporter *exporter = userdata;

        (void)one;

        if (exporter->answer.size + n > ANSWER_BYTES_MAX)
                return CURL_WRITEFUNC_ERROR; /* the status has been read; nothing else matters */
        buffer_append(&exporter->answer, data, n);
        return n;
}

static Chunk *chunk_free(Chunk *chunk) {
        if (!chunk)
                return NULL;
        buffer_done(&chunk->spans);
        free(chunk);
        return NULL;
}

/* {"partialSuccess":{"rejectedSpans":"3"}}, as a text or as a number. */
static uint64_t read_rejected(Slice answer) {
        static const ScanField partial[] = {
                { .name = "rejectedSpans", .kind = SCAN_RAW },
                { .name = NULL },
        };
        static const ScanField fields[] = {
                { .name = "partialSuccess", .kind = SCAN_OBJECT, .fields = partial },
                { .name = NULL },
        };
        _cleanup_(arena_clear) Arena arena = {};
        WireError error;
        Slice raw = SLICE_NONE;
        uint64_t n = 0;

        if (answer.size == 0 || scan_object(answer, fields, &raw, &arena, &error) != 0)
                return 0;
        for (size_t i = 0; i < raw.size && n < 1000000; i++)
                if (raw.data[i] >= '0' && raw.data[i] <= '9')
                        n = n * 10 + (uint64_t)(raw.data[i] - '0');
        return n;
}

/* Under the lock. NULL: all is well. A change is news. */
static void note(TraceExporter *exporter, const char *why) {
        if (why)
                (void)snprintf(exporter->why, sizeof(exporter->why), "%s", why);
        if (exporter->is_trouble == (why != NULL))
                return;
        exporter->is_trouble = why;
        (void)eventfd_write(exporter->news_fd, 1);
}

/* The chunk is done with: so many of its spans have arrived. */
static void settle(TraceExporter *exporter, size_t n_arrived, const char *why) {
        Chunk *chunk = TAKE_PTR(exporter->sending);

        pthread_mutex_lock(&exporter->lock);
        exporter->n_exported += n_arrived;
        exporter->n_dropped += chunk->n_spans - n_arrived;
        exporter->n_waiting -= chunk->n_spans;
        note(exporter, why);
        pthread_mutex_unlock(&exporter->lock);
        (void)chunk_free(chunk);
        exporter->n_attempts = 0;
}

/* The first failure is news, not the last attempt: an operator learns of it before anything is lost. */
static void note_failure(TraceExporter *exporter, const char *why) {
        pthread_mutex_lock(&exporter->lock);
        exporter->n_failed_requests++;
        note(exporter, why);
        pthread_mutex_unlock(&exporter->lock);
}

static uint64_t stop_usec(TraceExporter *exporter) {
        uint64_t usec;

        pthread_mutex_lock(&exporter->lock);
        usec = exporter->stop_usec;
        pthread_mutex_unlock(&exporter->lock);
        return usec;
}

static void retry(TraceExporter *exporter, curl_off_t after_sec, const char *why, uint64_t now) {
        uint64_t pause = MIN_OF(RETRY_FIRST_USEC << exporter->n_attempts, RETRY_MAX_USEC);

        if (++exporter->n_attempts >= ATTEMPTS_MAX || stop_usec(exporter) != USEC_NEVER) {
                settle(exporter, 0, why);
                return;
        }
        if (after_sec > 0)
                pause = (uint64_t)MIN_OF(after_sec, (curl_off_t)RETRY_AFTER_MAX_SEC) * USEC_PER_SEC;
        exporter->retry_usec = now + pause;
}

static bool is_retryable(long status) {
        return status == 429 || status == 502 || status == 503 || status == 504;
}

/* A request is over. */
static void on_end(TraceExporter *exporter, CURLcode result, uint64_t now) {
        char why[sizeof(exporter->why)];
        curl_off_t after_sec = 0;
        long status = 0;
        uint64_t n_rejected;

        (void)curl_easy_getinfo(exporter->curl, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(exporter->curl, CURLINFO_RETRY_AFTER, &after_sec);
        if (result != CURLE_OK && !(result == CURLE_WRITE_ERROR && status >= 200)) {
                (void)snprintf(why, sizeof(why), "%s", curl_easy_strerror(result));
                note_failure(exporter, why);
                retry(exporter, 0, why, now);
                return;
        }
        if (status < 200 || status > 299) {
                (void)snprintf(why, sizeof(why), "the collector answered %ld", status);
                note_failure(exporter, why);
                if (is_retryable(status))
                        retry(exporter, after_sec, why, now);
                else
                        settle(exporter, 0, why);
                return;
        }
        n_rejected = MIN_OF(read_rejected(buffer_slice(&exporter->answer)), exporter->sending->n_spans);
        (void)snprintf(why, sizeof(why), "the collector rejected spans");
        settle(exporter, exporter->sending->n_spans - n_rejected, n_rejected > 0 ? why : NULL);
}

static void send_chunk(TraceExporter *exporter) {
        const Slice spans = buffer_slice(&exporter->sending->spans);

        buffer_clear(&exporter->body);
        buffer_clear(&exporter->answer);
        buffer_append_slice(&exporter->body, buffer_slice(&exporter->head));
        buffer_append_slice(&exporter->body, spans);
        buffer_append_slice(&exporter->body, SLICE(REQUEST_END));
        if (exporter->body.failed) {
                settle(exporter, 0, "memory is out");
                return;
        }
        (void)curl_easy_setopt(exporter->curl, CURLOPT_POSTFIELDS, exporter->body.data);
        (void)curl_easy_setopt(exporter->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exporter->body.size);
        if (curl_multi_add_handle(exporter->multi, exporter->curl) != CURLM_OK) {
                settle(exporter, 0, "memory is out");
                return;
        }
        exporter->is_out = true;
        pthread_mutex_lock(&exporter->lock);
        exporter->n_requests++;
        pthread_mutex_unlock(&exporter->lock);
}

/* The first chunk, when it is full, old enough, or the last we will send. `ret_usec`: when one will be. */
static Chunk *take_chunk(TraceExporter *exporter, uint64_t now, uint64_t *ret_usec) {
        Chunk *chunk = NULL;

        pthread_mutex_lock(&exporter->lock);
        if (exporter->first) {
                const bool is_due = exporter->first->n_spans >= CHUNK_SPANS || exporter->first->next ||
                                    exporter->stop_usec != USEC_NEVER ||
                                    now >= exporter->first->since_usec + GATHER_USEC;

                if (is_due) {
                        chunk = exporter->first;
                        exporter->first = chunk->next;
                        if (!exporter->first)
                                exporter->last = NULL;
                } else {
                        *ret_usec = exporter->first->since_usec + GATHER_USEC;
                }
        }
        pthread_mutex_unlock(&exporter->lock);
        return chunk;
}

static void read_ends(TraceExporter *exporter, uint64_t now) {
        CURLMsg *message;
        int n_left;

        while ((message = curl_multi_info_read(exporter->multi, &n_left))) {
                const CURLcode result = message->data.result;

                if (message->msg != CURLMSG_DONE)
                        continue;
                (void)curl_multi_remove_handle(exporter->multi, exporter->curl);
                exporter->is_out = false;
                on_end(exporter, result, now);
        }
}

/* Returns when to look again. */
static uint64_t step(TraceExporter *exporter, uint64_t now) {
        uint64_t next = USEC_NEVER;
        int n_running = 0;

        if (exporter->is_out) {
                (void)curl_multi_perform(exporter->multi, &n_running);
                read_ends(exporter, now);
        }
        while (!exporter->is_out) {
                if (!exporter->sending) {
                        exporter->sending = take_chunk(exporter, now, &next);
                        exporter->retry_usec = now;
                }
                if (!exporter->sending || (exporter->retry_usec > now && stop_usec(exporter) == USEC_NEVER))
                        break;
                send_chunk(exporter);
                if (exporter->is_out)
                        (void)curl_multi_perform(exporter->multi, &n_running);
                read_ends(exporter, now);
        }
        if (exporter->sending && !exporter->is_out)
                next = exporter->retry_usec;
        return next;
}

static void *run(void *userdata) {
        TraceExporter *exporter = userdata;

        while (true) {
                uint64_t now = instant_now().usec, next = step(exporter, now);
                const uint64_t stop = stop_usec(exporter);
                const uint64_t longest_ms = exporter->is_out ? 1000 : 60000; /* whoever has news wakes us */
                long ms = (long)longest_ms;

                if (stop != USEC_NEVER && (now >= stop || (!exporter->sending && next == USEC_NEVER)))
                        break;
                next = MIN_OF(next, stop);
                if (next != USEC_NEVER)
                        ms = (long)MIN_OF((next > now ? next - now : 0) / USEC_PER_MSEC + 1, longest_ms);
                (void)curl_multi_poll(exporter->multi, NULL, 0, (int)ms, NULL);
        }
        if (exporter->is_out)
                (void)curl_multi_remove_handle(exporter->multi, exporter->curl);
        return NULL;
}

/* construction; the loop's again */

/* Instead of the system's, and read again for each connection, which curl would not for a day. */
static bool set_ca(CURL *curl, const char *path) {
        if (path[0] == '\0')
                return true;
        (void)curl_easy_setopt(curl, CURLOPT_CA_CACHE_TIMEOUT, 0L);
        return curl_easy_setopt(curl, CURLOPT_CAINFO, path) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK;
}

static bool set_options(TraceExporter *exporter) {
        CURL *curl = exporter->curl;

        return curl_easy_setopt(curl, CURLOPT_URL, exporter->url) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
               /* a look-up that hangs is left to itself, instead of being waited for at the end */
               curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, REQUEST_TIMEOUT_MS) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_POST, 1L) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_HTTPHEADER, exporter->headers) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_WRITEDATA, exporter) == CURLE_OK;
}

static void on_news(evutil_socket_t fd, short what, void *userdata) {
        TraceExporter *exporter = userdata;
        TraceExportNews news;
        eventfd_t ignored;

        (void)what;

        (void)eventfd_read(fd, &ignored);
        pthread_mutex_lock(&exporter->lock);
        news.works = !exporter->is_trouble;
        news.n_dropped = exporter->n_dropped;
        (void)snprintf(news.why, sizeof(news.why), "%s", exporter->why);
        pthread_mutex_unlock(&exporter->lock);
        exporter->on_news(&news);
}

static int start_news(TraceExporter *exporter, struct event_base *base) {
        exporter->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (exporter->news_fd < 0)
                return -errno;
        exporter->news = event_new(base, exporter->news_fd, EV_READ | EV_PERSIST, on_news, exporter);
        return exporter->news && event_add(exporter->news, NULL) == 0 ? 0 : -ENOMEM;
}

static int start_thread(TraceExporter *exporter) {
        sigset_t all, old;
        int r;

        (void)sigfillset(&all); /* signals are the loop's */
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&exporter->thread, NULL, run, exporter);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        exporter->has_thread = r == 0;
        return -r;
}

int trace_exporter_new(const TraceExportOptions *options, TraceExporter **ret, char *ret_why, size_t size) {
        _cleanup_(trace_exporter_freep) TraceExporter *exporter = NULL;

        if (!curl_library_load(ret_why, size))
                return -ELIBACC;
        (void)refuse(ret_why, size, "tracing.otlp_endpoint: memory is out");
        exporter = calloc(1, sizeof(*exporter));
        if (!exporter)
                return -ENOMEM;
        (void)pthread_mutex_init(&exporter->lock, NULL);
        exporter->stop_usec = USEC_NEVER;
        exporter->news_fd = -1;
        exporter->on_news = options->on_news;
        exporter->queue_limit = options->queue_limit;
        tracer_init(&exporter->tracer, options->random_seed, options->sample, (size_t)options->queue_limit);
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return -ENOMEM;
        if (!make_url(options->endpoint, &exporter->url, ret_why, size) ||
                !check_ca(options, exporter->url, ret_why, size))
                return -EINVAL;
        if (!add_header(&exporter->headers, "Content-Type: application/json") ||
                !add_header(&exporter->headers, "Expect:")) /* no waiting for a "100 Continue" */
                return -ENOMEM;
        if (!read_headers(options->headers_file, &exporter->headers, ret_why, size))
                return -EINVAL;
        put_head(&exporter->head, options);
        exporter->multi = curl_multi_init();
        exporter->curl = curl_easy_init();
        if (exporter->head.failed || !exporter->multi || !exporter->curl || !set_options(exporter) ||
                !set_ca(exporter->curl, options->tls_ca) || start_news(exporter, options->base) < 0 ||
                start_thread(exporter) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(exporter);
        return 0;
}

TraceExporter *trace_exporter_free(TraceExporter *exporter) {
        Chunk *next;

        if (!exporter)
                return NULL;
        if (exporter->has_thread) {
                trace_exporter_turn(exporter);
                pthread_mutex_lock(&exporter->lock);
                exporter->stop_usec = instant_now().usec + TRACE_EXPORT_FLUSH_USEC;
                pthread_mutex_unlock(&exporter->lock);
                (void)curl_multi_wakeup(exporter->multi);
                (void)pthread_join(exporter->thread, NULL);
        }
        if (exporter->news)
                event_free(exporter->news);
        if (exporter->news_fd >= 0)
                (void)close(exporter->news_fd);
        (void)chunk_free(exporter->sending);
        for (Chunk *chunk = exporter->first; chunk; chunk = next) {
                next = chunk->next;
                (void)chunk_free(chunk);
        }
        curl_easy_cleanup(exporter->curl);
        (void)curl_multi_cleanup(exporter->multi);
        curl_slist_free_all(exporter->headers);
        free(exporter->url);
        buffer_done(&exporter->head);
        buffer_done(&exporter->body);
        buffer_done(&exporter->answer);
        tracer_done(&exporter->tracer);
        (void)pthread_mutex_destroy(&exporter->lock);
        free(exporter);
        return NULL;
}

void trace_exporter_set_sample(TraceExporter *exporter, double sample) {
        if (exporter)
                tracer_set_sample(&exporter->tracer, sample);
}

Tracer *trace_exporter_tracer(TraceExporter *exporter) {
        return exporter ? &exporter->tracer : NULL;
}

/* Returns the chunk that takes more, or NULL when memory is out. Under the lock. */
static Chunk *open_chunk(TraceExporter *exporter) {
        Chunk *chunk = exporter->last;

        if (chunk && chunk->n_spans < CHUNK_SPANS)
                return chunk;
        chunk = calloc(1, sizeof(*chunk));
        if (!chunk)
                return NULL;
        chunk->since_usec = instant_now().usec;
        if (exporter->last)
                exporter->last->next = chunk;
        else
                exporter->first = chunk;
        exporter->last = chunk;
        return chunk;
}

/* Returns whether the thread should look: it is asleep as long as there is nothing, and until a chunk is old enough. */
static bool hand_over(TraceExporter *exporter) {
        Tracer *tracer = &exporter->tracer;
        const bool was_empty = !exporter->first;
        Chunk *chunk;

        if (exporter->n_waiting + tracer->n_spans > exporter->queue_limit || !(chunk = open_chunk(exporter))) {
                exporter->n_dropped += tracer->n_spans;
                return false;
        }
        if (chunk->n_spans > 0)
                buffer_append_char(&chunk->spans, ',');
        buffer_append_slice(&chunk->spans, buffer_slice(&tracer->spans));
        if (chunk->spans.failed) { /* what was in it before is whole */
                chunk->spans.failed = false;
                exporter->n_dropped += tracer->n_spans;
                if (chunk->n_spans > 0 && chunk->spans.data[chunk->spans.size - 1] == ',')
                        chunk->spans.size--;
                return false;
        }
        chunk->n_spans += tracer->n_spans;
        exporter->n_waiting += tracer->n_spans;
        return was_empty || chunk->n_spans >= CHUNK_SPANS;
}

void trace_exporter_turn(TraceExporter *exporter) {
        bool wakes = false;

        if (!exporter || (exporter->tracer.n_spans == 0 && exporter->tracer.n_dropped == 0))
                return;
        pthread_mutex_lock(&exporter->lock);
        exporter->n_dropped += exporter->tracer.n_dropped;
        exporter->tracer.n_dropped = 0;
        if (exporter->tracer.n_spans > 0)
                wakes = hand_over(exporter);
        pthread_mutex_unlock(&exporter->lock);

        tracer_clear(&exporter->tracer);
        if (wakes)
                (void)curl_multi_wakeup(exporter->multi);
}

void trace_exporter_stats(TraceExporter *exporter, TraceExportStats *ret) {
        pthread_mutex_lock(&exporter->lock);
        *ret = (TraceExportStats){
                .n_exported = exporter->n_exported,
                .n_dropped = exporter->n_dropped,
                .n_requests = exporter->n_requests,
                .n_failed_requests = exporter->n_failed_requests,
                .n_waiting = exporter->n_waiting,
        };
        pthread_mutex_unlock(&exporter->lock);
}

void trace_exporter_metrics(Buffer *buffer, TraceExporter *exporter) {
        TraceExportStats stats;

        if (!exporter)
                return;
        trace_exporter_stats(exporter, &stats);
        metrics_counter_value(
                buffer, "compozy_tracing_spans_exported_total", "Spans that the collector took", stats.n_exported);
        metrics_counter_value(buffer, "compozy_tracing_spans_dropped_total",
                "Spans lost: no room in the queue, or the collector did not take them", stats.n_dropped);
        metrics_counter_value(
                buffer, "compozy_tracing_requests_total", "Requests made to the collector", stats.n_requests);
        metrics_counter_value(
                buffer, "compozy_tracing_requests_failed_total", "Requests that failed", stats.n_failed_requests);
        metrics_gauge_value(buffer, "compozy_tracing_spans_waiting", "Spans that wait to be sent, or for an answer",
                stats.n_waiting);
}
