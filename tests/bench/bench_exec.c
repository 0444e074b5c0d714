/* SPDX-License-Identifier: MIT */

/*
 * bench_exec: what it costs to hand messages to a child process through ExecHost, beside the same lines to and from the
 * same child over bare pipes; and what it takes to start many children. One line of JSON.
 *
 *     bench_exec [MILLISECONDS per figure] [CHILDREN to start]
 *
 * The child is this program itself: it answers each handle with its input, and does nothing else.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/instant.h"
#include "runtimed/agent.h"
#include "runtimed/exec_host.h"
#include "runtimed/exec_line.h"
#include "runtimed/letter.h"

#define BODY_BYTES 256
#define OUTSTANDING_MAX 64
#define ROUNDS 5
#define SAMPLES_MAX 1000000

static uint64_t measure_usec = 300 * USEC_PER_MSEC;
static unsigned n_to_start = 500;
static char body[BODY_BYTES + 1], self[4096], settings[5000];

typedef struct Figures {
        uint64_t n_done;
        double seconds;
        uint64_t n_samples;
        uint32_t samples[SAMPLES_MAX]; /* nanoseconds */
} Figures;

static uint64_t now_nsec(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
        perror(what);
        exit(1);
}

/* the child */

/* The answers to whole lines in `text`; returns how many bytes those were. */
static size_t child_answer(const char *text, size_t size, char *out, size_t *n_out) {
        size_t done = 0;
        const char *end;

        while ((end = memchr(text + done, '\n', size - done))) {
                const char *line = text + done;
                const size_t n = (size_t)(end - line);
                const char *id = memmem(line, n, "\"id\":", 5), *input = memmem(line, n, "\"input\":", 8);
                const char *input_end = input ? memmem(input, n - (size_t)(input - line), ",\"encoding\"", 11) : NULL;

                *n_out += (size_t)sprintf(out + *n_out,
                        "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"result\":{\"output\":%.*s}}\n", strtoull(id + 5, NULL, 10),
                        input_end ? (int)(input_end - input - 8) : 4, input_end ? input + 8 : "null");
                done = (size_t)(end - text) + 1;
        }
        return done;
}

static int child_main(void) {
        static char in[256 * 1024], out[512 * 1024];
        size_t size = 0;
        ssize_t n;

        while ((n = read(STDIN_FILENO, in + size, sizeof(in) - size)) > 0) {
                size_t n_out = 0, done;

                size += (size_t)n;
                done = child_answer(in, size, out, &n_out);
                memmove(in, in + done, size - done);
                size -= done;
                if (n_out > 0 && write(STDOUT_FILENO, out, n_out) != (ssize_t)n_out)
                        return 1;
        }
        return 0;
}

/* bare pipes */

static pid_t bare_start(int *ret_in, int *ret_out) {
        int in[2], out[2];
        pid_t pid;

        if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
                die("pipe");
        pid = fork();
        if (pid == 0) {
                (void)dup2(in[0], STDIN_FILENO);
                (void)dup2(out[1], STDOUT_FILENO);
                (void)execl(self, self, "--child", (char *)NULL);
                _exit(127);
        }
        (void)close(in[0]);
        (void)close(out[1]);
        *ret_in = in[1];
        *ret_out = out[0];
        return pid;
}

static void write_all(int fd, const char *data, size_t size) {
        while (size > 0) {
                const ssize_t n = write(fd, data, size);

                if (n < 0)
                        die("write");
                data += n;
                size -= (size_t)n;
        }
}

static size_t count_lines(const char *data, size_t size) {
        size_t n = 0;

        for (const char *p = data; (p = memchr(p, '\n', size - (size_t)(p - data))); p++)
                n++;
        return n;
}

/* The least that a loop can do: wait, read, count, write as many again. */
static void bare_run(int in, int out, Slice line, unsigned outstanding, Figures *ret) {
        static char lines[OUTSTANDING_MAX * 1024], chunk[64 * 1024];
        struct epoll_event event = { .events = EPOLLIN };
        const int loop = epoll_create1(EPOLL_CLOEXEC);
        const uint64_t begun = now_nsec(), end = begun + measure_usec * 1000;
        uint64_t sent = begun;

        (void)epoll_ctl(loop, EPOLL_CTL_ADD, out, &event);
        for (unsigned i = 0; i < OUTSTANDING_MAX; i++)
                memcpy(lines + i * line.size, line.data, line.size);
        write_all(in, lines, outstanding * line.size);
        for (size_t open = outstanding; open > 0;) {
                ssize_t size;
                size_t n;
                uint64_t now;

                (void)epoll_wait(loop, &event, 1, -1);
                size = read(out, chunk, sizeof(chunk));
                if (size <= 0)
                        die("read");
                n = count_lines(chunk, (size_t)size);
                now = now_nsec();
                ret->n_done += n;
                if (n > 0 && ret->n_samples < SAMPLES_MAX)
                        ret->samples[ret->n_samples++] = (uint32_t)(now - sent);
                sent = now;
                if (now < end)
                        write_all(in, lines, n * line.size);
                else
                        open -= n;
        }
        ret->seconds += (double)(now_nsec() - begun) / 1e9;
        (void)close(loop);
}

/* through the host */

typedef struct Bench {
        struct event_base *base;
        ExecHost *host;
        Agent *agents;
        Letters letters;
        Delivery *deliveries[OUTSTANDING_MAX];
        uint64_t sent[OUTSTANDING_MAX], end;
        size_t n_open, n_started;
        Figures *figures;
        uint64_t last_tick, longest_pause;
} Bench;

static void on_message(Bench *bench, Mail *mail) {
        Delivery *delivery = delivery_of_mail(mail);
        const size_t i = (size_t)delivery->token;
        const uint64_t now = now_nsec();
        Figures *figures = bench->figures;

        figures->n_done++;
        if (figures->n_samples < SAMPLES_MAX)
                figures->samples[figures->n_samples++] = (uint32_t)(now - bench->sent[i]);
        if (now >= bench->end) {
                bench->n_open--;
                return;
        }
        bench->sent[i] = now;
        exec_host_call(bench->host, mail);
}

static void on_outcome(Outcome *outcome, void *userdata) {
        Bench *bench = userdata;
        Mail *mail = outcome->mail;

        if (mail->kind == MAIL_INIT && outcome->result != 0)
                (void)fprintf(stderr, "bench_exec: %.*s\n", SLICE_ARG(buffer_slice(&outcome->reply.output)));
        if (outcome->result != 0 || (mail->kind == MAIL_TOPIC && outcome->reply.verdict != BEHAVIOR_DONE))
                exit(1);
        if (!outcome->is_embedded)
                (void)outcome_free(outcome);
        if (mail->kind == MAIL_INIT)
                bench->n_started++;
        else
                on_message(bench, mail);
}

static void on_effects(Agent *agent, uint64_t message_id, EffectList *effects, void *userdata) {
        (void)agent;
        (void)message_id;
        (void)effects;
        (void)userdata;
}

static void on_crash(Agent *agent, const char *why, void *userdata) {
        (void)agent;
        (void)userdata;
        (void)fprintf(stderr, "bench_exec: %s\n", why);
        exit(1);
}

static void on_turn_end(void *userdata) {
        (void)userdata;
}

static void host_run(Bench *bench, unsigned outstanding, Figures *ret) {
        const uint64_t begun = now_nsec();

        bench->figures = ret;
        bench->end = begun + measure_usec * 1000;
        bench->n_open = outstanding;
        for (unsigned i = 0; i < outstanding; i++) {
                bench->sent[i] = now_nsec();
                exec_host_call(bench->host, &bench->deliveries[i]->mail);
        }
        while (bench->n_open > 0)
                (void)event_base_loop(bench->base, EVLOOP_ONCE);
        ret->seconds += (double)(now_nsec() - begun) / 1e9;
}

/* How long the loop did nothing else. */
static void on_tick(evutil_socket_t fd, short what, void *userdata) {
        Bench *bench = userdata;
        const uint64_t now = now_nsec();

        (void)fd;
        (void)what;

        if (bench->last_tick > 0)
                bench->longest_pause = MAX_OF(bench->longest_pause, now - bench->last_tick);
        bench->last_tick = now;
}

static Control *start_children(Bench *bench, size_t first, size_t n) {
        Control *controls = calloc(n, sizeof(*controls));

        if (!controls)
                die("calloc");
        for (size_t i = 0; i < n; i++) {
                Agent *agent = &bench->agents[first + i];
                char id[32];

                (void)snprintf(id, sizeof(id), "a%zu", first + i);
                agent->id = id_of(slice_of(id));
                controls[i].mail = (Mail){ .agent = agent, .kind = MAIL_INIT, .outcome = &controls[i].outcome };
                controls[i].start = (BehaviorStart){ .agent_id = id_slice(&agent->id),
                        .settings = slice_of(settings),
                        .max_concurrency = OUTSTANDING_MAX };
                exec_host_call(bench->host, &controls[i].mail);
        }
        while (bench->n_started < first + n)
                (void)event_base_loop(bench->base, EVLOOP_ONCE);
        return controls;
}

static void bench_set_up(Bench *bench) {
        const Envelope envelope = { .thread_id = SLICE("t0123456789abcdef"),
                .correlation_id = SLICE("t0123456789abcdef"),
                .sender = SLICE("agent.caller"),
                .ttl = 15,
                .hop = 1 };
        const ExecHostCallbacks callbacks = { on_outcome, on_effects, on_crash, on_turn_end, bench };
        const int warden_fd = exec_warden_start();
        Letter *letter;

        bench->base = event_base_new();
        bench->agents = calloc(n_to_start + 1, sizeof(Agent));
        if (warden_fd < 0 || !bench->base || !bench->agents ||
                exec_host_new(bench->base, warden_fd, &callbacks, &bench->host) < 0)
                die("set-up");
        letter = letter_new(&bench->letters, SLICE("bench.echo"), slice_of(body), &envelope);
        for (size_t i = 0; i < OUTSTANDING_MAX; i++) {
                bench->deliveries[i] = delivery_new(&bench->letters, &bench->agents[0], MAIL_TOPIC, letter);
                bench->deliveries[i]->id = i + 1;
                bench->deliveries[i]->token = i;
        }
        letter_unref(&bench->letters, letter);
}

/* what is said */

static int compare(const void *a, const void *b) {
        const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

static double p50_usec(Figures *figures) {
        qsort(figures->samples, figures->n_samples, sizeof(figures->samples[0]), compare);
        return figures->n_samples > 0 ? (double)figures->samples[figures->n_samples / 2] / 1000 : 0;
}

static double rate(const Figures *figures) {
        return (double)figures->n_done / figures->seconds;
}

/* Bare samples are of batches: with one line each they are of lines. */
static void print_pair(unsigned outstanding, Figures *bare, Figures *host) {
        const double bare_p50 = p50_usec(bare), host_p50 = p50_usec(host);

        (void)printf("\"%u\": {\"host_per_second\": %.0f, \"bare_per_second\": %.0f, \"rate_ratio\": %.3f, "
                     "\"host_p50_usec\": %.2f",
                outstanding, rate(host), rate(bare), rate(host) / rate(bare), host_p50);
        if (outstanding == 1)
                (void)printf(", \"bare_p50_usec\": %.2f, \"p50_ratio\": %.3f", bare_p50, host_p50 / bare_p50);
        (void)printf("}, ");
}

static Slice make_line(Buffer *buffer, Bench *bench) {
        BehaviorMessage message;

        mail_read(&bench->deliveries[0]->mail, &message);
        exec_put_handle(buffer, 1000, &message);
        return buffer_slice(buffer);
}

/* Both in turns, so that whatever else this machine does hits both. */
static void measure_echo(Bench *bench) {
        static const unsigned outstanding[] = { 1, OUTSTANDING_MAX };
        _cleanup_(buffer_done) Buffer buffer = {};
        const Slice line = make_line(&buffer, bench);
        int in, out;
        const pid_t pid = bare_start(&in, &out);

        for (size_t i = 0; i < ELEMENTSOF(outstanding); i++) {
                Figures *bare = calloc(1, sizeof(*bare)), *host = calloc(1, sizeof(*host));

                if (!bare || !host)
                        die("calloc");
                for (int round = 0; round < ROUNDS; round++) {
                        bare_run(in, out, line, outstanding[i], bare);
                        host_run(bench, outstanding[i], host);
                }
                print_pair(outstanding[i], bare, host);
                free(bare);
                free(host);
        }
        (void)close(in);
        (void)waitpid(pid, NULL, 0);
        (void)close(out);
}

static void measure_start(Bench *bench) {
        struct event *tick = event_new(bench->base, -1, EV_PERSIST, on_tick, bench);
        uint64_t begun;
        Control *controls;

        (void)event_add(tick, &(struct timeval){ .tv_usec = 500 });
        begun = now_nsec();
        controls = start_children(bench, 1, n_to_start);
        (void)printf("\"start\": {\"children\": %u, \"seconds\": %.3f, \"longest_pause_ms\": %.2f}", n_to_start,
                (double)(now_nsec() - begun) / 1e9, (double)bench->longest_pause / 1e6);
        free(controls);
        event_free(tick);
}

int main(int argc, char **argv) {
        static Bench bench;
        Control *control;

        if (argc == 2 && strcmp(argv[1], "--child") == 0)
                return child_main();
        if (argc > 1)
                measure_usec = strtoull(argv[1], NULL, 10) * USEC_PER_MSEC;
        if (argc > 2)
                n_to_start = (unsigned)strtoul(argv[2], NULL, 10);
        if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
                die("readlink");
        (void)snprintf(
                settings, sizeof(settings), "{\"command\": [\"%s\", \"--child\"], \"start_timeout_ms\": 60000}", self);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)snprintf(body, sizeof(body), "{\"text\":\"%0*d\"}", BODY_BYTES - 11, 0);

        bench_set_up(&bench);
        control = start_children(&bench, 0, 1);
        (void)printf("{\"payload_bytes\": %zu, ", strlen(body));
        measure_echo(&bench);
        measure_start(&bench);
        (void)printf("}\n");
        (void)exec_host_free(bench.host);
        free(control);
        return 0;
}
