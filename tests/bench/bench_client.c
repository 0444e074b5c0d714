/* SPDX-License-Identifier: MIT */

/*
 * bench_client: keeps N requests outstanding for a while and writes one line of JSON about it.
 *
 *     bench_client [-n OUTSTANDING] [-s SECONDS] [-w WARMUP] [-b BYTES] [-t] [-p NAME=PID]... URL SUBJECT
 *
 * The same code for every variant; -t only changes what the body looks like and what the answer is held to: a
 * TriggerAgent whose payload.context.input is the bytes, answered by a result of status SUCCESS with the same output.
 * Without it the body is the bytes, and so is the answer.
 *
 * Each request has its own reply subject below one inbox subscription: slot and sequence number, in hexadecimal. The
 * sequence number is in the body too, so an answer to another request (or a second one to the same) is noticed.
 *
 * Latency is counted from the turn that published a request to the turn that read its answer, by one clock reading per
 * turn. CPU time of the processes named with -p is taken at the two ends of the window, after the warm-up.
 */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/bench/peer.h"

#define OUTSTANDING_MAX 65535
#define BODY_MAX 65536
#define PIDS_MAX 8
#define NSEC_PER_SEC UINT64_C(1000000000)
#define SAMPLES_MAX (8 * 1024 * 1024)
#define SLOT_DIGITS 4
#define SEQUENCE_DIGITS 8
#define STALL_NSEC (5 * NSEC_PER_SEC)

typedef struct Slot {
        uint64_t sent_nsec;
        uint32_t sequence;
} Slot;

typedef struct Watched {
        char name[32];
        int pid;
        uint64_t before_nsec, after_nsec;
} Watched;

typedef enum Phase {
        PHASE_WARMUP,
        PHASE_MEASURE,
        PHASE_DRAIN, /* nothing new is sent; what is outstanding may still come */
} Phase;

typedef struct Client {
        Peer *peer;
        const char *subject;
        bool trigger;
        size_t n_slots, n_outstanding;
        Slot *slots;

        char reply[PEER_INBOX_MAX + 1 + SLOT_DIGITS + SEQUENCE_DIGITS + 1];
        size_t reply_prefix;
        char *body;
        size_t body_size, input_at,
                input_size; /* the bytes within the body; their first ones are the sequence number */
        size_t output_at;   /* where the output stood in the last answer */

        Phase phase;
        uint64_t now_nsec, start_nsec, end_nsec, last_answer_nsec;
        uint64_t warmup_nsec, measure_nsec;
        uint32_t *samples; /* latencies in ns / 16, which holds a minute */
        size_t n_samples;
        uint64_t n_answers, n_errors, n_strays;
        char first_error[512];

        Watched watched[PIDS_MAX];
        size_t n_watched;
        uint64_t idle_before_nsec, idle_after_nsec; /* of the whole machine */
} Client;

static void put_hex(char *to, size_t digits, uint32_t value) {
        for (size_t i = digits; i-- > 0; value >>= 4)
                to[i] = "0123456789abcdef"[value & 15];
}

static bool get_hex(const char *from, size_t digits, uint32_t *ret) {
        uint32_t value = 0;

        for (size_t i = 0; i < digits; i++) {
                const char c = from[i];

                if (c >= '0' && c <= '9')
                        value = value << 4 | (uint32_t)(c - '0');
                else if (c >= 'a' && c <= 'f')
                        value = value << 4 | (uint32_t)(c - 'a' + 10);
                else
                        return false;
        }
        *ret = value;
        return true;
}

/*
 * Idle time of all processors, from the first line of /proc/stat. What is neither idle nor used by the processes
 * watched went to somebody else, and tells how far the figures can be trusted.
 */
static uint64_t machine_idle_nsec(void) {
        unsigned long long idle = 0, iowait = 0;
        FILE *f = fopen("/proc/stat", "re");

        if (!f)
                return 0;
        if (fscanf(f, "cpu %*u %*u %*u %llu %llu", &idle, &iowait) != 2)
                idle = iowait = 0;
        (void)fclose(f);
        return (idle + iowait) * (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void build_body(Client *client, size_t size) {
        static const char head[] = "{\"payload\":{\"context\":{\"input\":\"", tail[] = "\"}}}";
        const size_t around = client->trigger ? strlen(head) + strlen(tail) : 0;

        if (size < around + SEQUENCE_DIGITS || size > BODY_MAX)
                peer_fail("A body of %zu bytes is not possible", size);

        client->body = malloc(size);
        if (!client->body)
                peer_fail("Out of memory");
        client->body_size = size;
        client->input_at = client->trigger ? strlen(head) : 0;
        client->input_size = size - around;
        if (client->trigger)
                memcpy(client->body, head, strlen(head));
        for (size_t i = 0; i < client->input_size; i++)
                client->body[client->input_at + i] = (char)('a' + i % 26);
        if (client->trigger)
                memcpy(client->body + size - strlen(tail), tail, strlen(tail));
}

static void send_request(Client *client, size_t index) {
        Slot *slot = &client->slots[index];

        slot->sequence++;
        slot->sent_nsec = client->now_nsec;
        put_hex(client->reply + client->reply_prefix, SLOT_DIGITS, (uint32_t)index);
        put_hex(client->reply + client->reply_prefix + SLOT_DIGITS, SEQUENCE_DIGITS, slot->sequence);
        put_hex(client->body + client->input_at, SEQUENCE_DIGITS, slot->sequence);
        peer_publish(client->peer, client->subject, client->reply, client->body, client->body_size);
        client->n_outstanding++;
}

static void note_error(Client *client, natsMsg *msg) {
        const char *status = NULL;

        if (client->n_errors++ > 0)
                return;
        (void)natsMsgHeader_Get(msg, "Status", &status);
        (void)snprintf(client->first_error, sizeof(client->first_error), "%s%.*s", status ? status : "",
                natsMsg_GetDataLength(msg), natsMsg_GetData(msg));
}

/* Answers look alike, so the output is first sought where the last one had it. */
static bool output_is_input(Client *client, const char *data, size_t size) {
        static const char key[] = "\"output\":\"";
        const char *at;

        if (client->output_at >= strlen(key) && client->output_at + client->input_size < size &&
                memcmp(data + client->output_at - strlen(key), key, strlen(key)) == 0)
                at = data + client->output_at;
        else {
                at = memmem(data, size, key, strlen(key));
                if (!at)
                        return false;
                at += strlen(key);
        }

        client->output_at = (size_t)(at - data);
        return client->output_at + client->input_size < size &&
               memcmp(at, client->body + client->input_at, client->input_size) == 0 && at[client->input_size] == '"';
}

static bool answer_is_right(Client *client, natsMsg *msg, uint32_t sequence) {
        static const char success[] = "\"status\":\"SUCCESS\"";
        const char *data = natsMsg_GetData(msg);
        const size_t size = (size_t)natsMsg_GetDataLength(msg);

        put_hex(client->body + client->input_at, SEQUENCE_DIGITS, sequence);
        if (!client->trigger)
                return size == client->body_size && memcmp(data, client->body, size) == 0;
        return output_is_input(client, data, size) && memmem(data, size, success, strlen(success));
}

static void on_answer(natsMsg *msg, void *userdata) {
        Client *client = userdata;
        const char *subject = natsMsg_GetSubject(msg) + client->reply_prefix;
        uint32_t index, sequence;
        Slot *slot;

        if (!get_hex(subject, SLOT_DIGITS, &index) || index >= client->n_slots ||
                !get_hex(subject + SLOT_DIGITS, SEQUENCE_DIGITS, &sequence) ||
                client->slots[index].sequence != sequence || client->slots[index].sent_nsec == 0) {
                client->n_strays++;
                return;
        }

        slot = &client->slots[index];
        if (!client->now_nsec)
                client->now_nsec = peer_now_nsec();
        if (!answer_is_right(client, msg, sequence))
                note_error(client, msg);
        else if (client->phase == PHASE_MEASURE && client->n_samples < SAMPLES_MAX)
                client->samples[client->n_samples++] = (uint32_t)((client->now_nsec - slot->sent_nsec) / 16);

        slot->sent_nsec = 0;
        client->n_answers++;
        client->n_outstanding--;
        client->last_answer_nsec = client->now_nsec;
        if (client->phase != PHASE_DRAIN)
                send_request(client, index);
}

static void take_cpu(Client *client, bool before) {
        for (size_t i = 0; i < client->n_watched; i++) {
                Watched *watched = &client->watched[i];

                *(before ? &watched->before_nsec : &watched->after_nsec) = peer_cpu_nsec(watched->pid);
        }
        *(before ? &client->idle_before_nsec : &client->idle_after_nsec) = machine_idle_nsec();
}

static void on_turn(void *userdata) {
        Client *client = userdata;

        if (client->phase == PHASE_WARMUP && client->now_nsec >= client->start_nsec + client->warmup_nsec) {
                client->phase = PHASE_MEASURE;
                take_cpu(client, /* before= */ true);
                client->start_nsec = client->now_nsec;
        } else if (client->phase == PHASE_MEASURE && client->now_nsec >= client->start_nsec + client->measure_nsec) {
                client->phase = PHASE_DRAIN;
                client->end_nsec = client->now_nsec;
                take_cpu(client, /* before= */ false);
        }
        if (client->phase == PHASE_DRAIN && client->n_outstanding == 0)
                peer_stop(client->peer);
        client->now_nsec = 0; /* the next answer reads the clock again */
}

static void on_tick(evutil_socket_t fd, short what, void *userdata) {
        Client *client = userdata;

        (void)fd;
        (void)what;

        if (peer_now_nsec() > client->last_answer_nsec + STALL_NSEC) {
                if (client->phase != PHASE_DRAIN)
                        peer_fail("No answer for 5 s, %zu outstanding; first error: %s", client->n_outstanding,
                                client->first_error);
                peer_stop(client->peer);
        }
}

static int compare_samples(const void *a, const void *b) {
        const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

static double percentile_usec(const Client *client, double p) {
        if (client->n_samples == 0)
                return 0;
        return (double)client->samples[(size_t)(p * (double)(client->n_samples - 1))] * 16 / 1000;
}

static void print_text(const char *text) {
        (void)putchar('"');
        for (; *text; text++)
                if (*text == '"' || *text == '\\')
                        (void)printf("\\%c", *text);
                else
                        (void)putchar((unsigned char)*text < 32 ? ' ' : *text);
        (void)putchar('"');
}

static void print_outcome(Client *client) {
        const double seconds = (double)(client->end_nsec - client->start_nsec) / 1e9;

        qsort(client->samples, client->n_samples, sizeof(client->samples[0]), compare_samples);
        (void)printf("{\"requests\": %zu, \"answers\": %" PRIu64
                     ", \"seconds\": %.6f, \"rate\": %.1f, \"p50_usec\": %.1f, \"p99_usec\": %.1f, "
                     "\"errors\": %" PRIu64 ", \"strays\": %" PRIu64
                     ", \"lost\": %zu, \"machine_idle_seconds\": %.3f, \"cpu_seconds\": {",
                client->n_samples, client->n_answers, seconds, (double)client->n_samples / seconds,
                percentile_usec(client, 0.5), percentile_usec(client, 0.99), client->n_errors, client->n_strays,
                client->n_outstanding, (double)(client->idle_after_nsec - client->idle_before_nsec) / 1e9);
        for (size_t i = 0; i < client->n_watched; i++)
                (void)printf("%s\"%s\": %.6f", i ? ", " : "", client->watched[i].name,
                        (double)(client->watched[i].after_nsec - client->watched[i].before_nsec) / 1e9);
        (void)fputs("}, \"first_error\": ", stdout);
        print_text(client->first_error);
        (void)puts("}");
}

static void watch(Client *client, const char *argument) {
        Watched *watched = &client->watched[client->n_watched];

        if (client->n_watched == PIDS_MAX || sscanf(argument, "%31[^=]=%d", watched->name, &watched->pid) != 2)
                peer_fail("Not NAME=PID, or too many: %s", argument);
        client->n_watched++;
}

static void parse_arguments(Client *client, int argc, char **argv, size_t *ret_bytes) {
        int c;

        while ((c = getopt(argc, argv, "n:s:w:b:tp:")) >= 0)
                switch (c) {
                case 'n':
                        client->n_slots = strtoul(optarg, NULL, 10);
                        break;
                case 's':
                        client->measure_nsec = (uint64_t)(strtod(optarg, NULL) * 1e9);
                        break;
                case 'w':
                        client->warmup_nsec = (uint64_t)(strtod(optarg, NULL) * 1e9);
                        break;
                case 'b':
                        *ret_bytes = strtoul(optarg, NULL, 10);
                        break;
                case 't':
                        client->trigger = true;
                        break;
                case 'p':
                        watch(client, optarg);
                        break;
                default:
                        exit(2);
                }
        if (argc - optind != 2 || client->n_slots == 0 || client->n_slots > OUTSTANDING_MAX)
                peer_fail("usage: bench_client [-n OUTSTANDING] [-s SECONDS] [-w WARMUP] [-b BYTES] [-t] [-p "
                          "NAME=PID]... URL SUBJECT");
}

static void start(Client *client, char **arguments) {
        client->slots = calloc(client->n_slots, sizeof(client->slots[0]));
        client->samples = malloc(SAMPLES_MAX * sizeof(client->samples[0]));
        if (!client->slots || !client->samples)
                peer_fail("Out of memory");

        client->peer = peer_new(arguments[0], "bench-client");
        client->subject = arguments[1];
        client->reply_prefix = (size_t)snprintf(client->reply, sizeof(client->reply), "%s.", peer_inbox(client->peer));
        client->reply[client->reply_prefix] = '*';
        peer_subscribe(client->peer, client->reply, on_answer, client);
        peer_settle(client->peer);
        peer_on_turn(client->peer, on_turn, client);

        client->now_nsec = client->start_nsec = client->last_answer_nsec = peer_now_nsec();
        for (size_t i = 0; i < client->n_slots; i++)
                send_request(client, i);
        client->now_nsec = 0;
}

int main(int argc, char **argv) {
        Client client = { .n_slots = 1, .warmup_nsec = NSEC_PER_SEC / 5, .measure_nsec = NSEC_PER_SEC };
        struct event *tick;
        size_t bytes = 256;

        parse_arguments(&client, argc, argv, &bytes);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        build_body(&client, bytes);
        start(&client, argv + optind);

        tick = event_new(peer_base(client.peer), -1, EV_PERSIST, on_tick, &client);
        if (!tick || event_add(tick, &(struct timeval){ .tv_usec = 250000 }) < 0)
                peer_fail("No timer");
        peer_run(client.peer);
        if (client.end_nsec == 0)
                peer_fail("The measurement did not come to its end");
        print_outcome(&client);
        return client.n_errors > 0 || client.n_outstanding > 0 ? 1 : 0;
}
