/* SPDX-License-Identifier: MIT */

/*
 * bench_asker: one request each to many subjects, so many of them under way at a time.
 *
 *     bench_asker [-n REQUESTS] [-a AGENTS] [-w WINDOW] [-r] [-i SKIPPED] [-e ANSWERS] [-l SECONDS] URL SUBJECT [BODY]
 *
 * Each '#' in SUBJECT and BODY becomes the number of an agent, five digits or more: one after the other, or with -r at
 * random. -e: so many answers come to each. -i counts the first SKIPPED answers without timing them. An answer is good
 * unless it says so in its first bytes ("ok":false) or by its status ("status":"FAILURE"), or is the server's word that
 * nobody listens.
 *
 * One line of JSON: answers per second, latencies from the turn that sent to the turn that received, what was wrong.
 * Ends with status 1 when an answer was not good or did not come within SECONDS of the last one before it.
 */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "tests/bench/peer.h"

#define TEXT_MAX 4096
#define NSEC_PER_SEC UINT64_C(1000000000)

typedef struct Asker {
        Peer *peer;
        const char *subject, *body;
        size_t n_requests, n_agents, window, n_skipped, n_expected;
        bool is_random;
        uint64_t limit_nsec;

        size_t n_sent, n_answers, n_bad;
        uint64_t *sent_nsec; /* by request */
        uint64_t *waits;     /* nanoseconds, of those that are timed */
        size_t n_waits;
        uint64_t now_nsec, start_nsec, last_nsec, random;
        char first_bad[512];
} Asker;

static uint64_t next_random(Asker *asker) {
        asker->random ^= asker->random << 13;
        asker->random ^= asker->random >> 7;
        asker->random ^= asker->random << 17;
        return asker->random;
}

static void fill_in(const char *pattern, size_t number, char ret[static TEXT_MAX]) {
        size_t n = 0;

        for (; *pattern; pattern++) {
                if (n + 32 > TEXT_MAX)
                        peer_fail("A subject or a body is too long");
                if (*pattern == '#')
                        n += (size_t)snprintf(ret + n, TEXT_MAX - n, "%05zu", number);
                else
                        ret[n++] = *pattern;
        }
        ret[n] = '\0';
}

static void send_one(Asker *asker) {
        const size_t i = asker->n_sent++;
        const size_t agent = asker->is_random ? (size_t)(next_random(asker) % asker->n_agents) : i % asker->n_agents;
        char subject[TEXT_MAX], body[TEXT_MAX], reply[PEER_INBOX_MAX + 24];

        fill_in(asker->subject, agent, subject);
        fill_in(asker->body, agent, body);
        (void)snprintf(reply, sizeof(reply), "%s.%zu", peer_inbox(asker->peer), i);
        asker->sent_nsec[i] = asker->now_nsec;
        peer_publish(asker->peer, subject, reply, body, strlen(body));
}

static bool is_good(natsMsg *msg) {
        const char *data = natsMsg_GetData(msg);
        const size_t size = (size_t)natsMsg_GetDataLength(msg);

        if (natsMsg_IsNoResponders(msg))
                return false;
        return !memmem(data, size, "\"ok\":false", 10) && !memmem(data, size, "\"status\":\"FAILURE\"", 18);
}

static void on_answer(natsMsg *msg, void *userdata) {
        Asker *asker = userdata;
        const size_t i = strtoul(strrchr(natsMsg_GetSubject(msg), '.') + 1, NULL, 10);

        if (i >= asker->n_sent || asker->sent_nsec[i] == 0)
                return;
        if (!is_good(msg) && asker->n_bad++ == 0)
                (void)snprintf(asker->first_bad, sizeof(asker->first_bad), "%s: %.*s",
                        natsMsg_IsNoResponders(msg) ? "nobody listens" : "refused", natsMsg_GetDataLength(msg),
                        natsMsg_GetData(msg));
        if (asker->n_answers++ >= asker->n_skipped)
                asker->waits[asker->n_waits++] = peer_now_nsec() - asker->sent_nsec[i];
        if (asker->n_expected == 1)
                asker->sent_nsec[i] = 0;
}

static void on_turn(void *userdata) {
        Asker *asker = userdata;

        asker->now_nsec = peer_now_nsec();
        asker->last_nsec = asker->now_nsec;
        while (asker->n_sent < asker->n_requests &&
                asker->n_sent * asker->n_expected - asker->n_answers < asker->window)
                send_one(asker);
        if (asker->n_answers == asker->n_requests * asker->n_expected)
                peer_stop(asker->peer);
}

static void on_tick(evutil_socket_t fd, short what, void *userdata) {
        Asker *asker = userdata;

        (void)fd;
        (void)what;

        if (peer_now_nsec() - asker->last_nsec > asker->limit_nsec)
                peer_stop(asker->peer);
}

static int compare_waits(const void *a, const void *b) {
        const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

        return (left > right) - (left < right);
}

static double wait_usec(const Asker *asker, double share) {
        if (asker->n_waits == 0)
                return 0;
        return (double)asker->waits[(size_t)(share * (double)(asker->n_waits - 1))] / 1e3;
}

static void print_outcome(Asker *asker) {
        const double seconds = (double)(asker->last_nsec - asker->start_nsec) / 1e9;

        qsort(asker->waits, asker->n_waits, sizeof(asker->waits[0]), compare_waits);
        (void)printf("{\"answers\": %zu, \"lost\": %zu, \"bad\": %zu, \"seconds\": %.6f, \"rate\": %.1f, "
                     "\"p50_usec\": %.1f, \"p99_usec\": %.1f, \"most_usec\": %.1f, \"first_bad\": \"",
                asker->n_answers, asker->n_requests * asker->n_expected - asker->n_answers, asker->n_bad, seconds,
                (double)asker->n_answers / seconds, wait_usec(asker, 0.5), wait_usec(asker, 0.99), wait_usec(asker, 1));
        for (const char *c = asker->first_bad; *c; c++)
                (void)putchar(*c == '"' || *c == '\\' || (unsigned char)*c < 32 ? '\'' : *c);
        (void)puts("\"}");
}

static void parse_arguments(Asker *asker, int argc, char **argv) {
        int c;

        while ((c = getopt(argc, argv, "n:a:w:ri:e:l:")) >= 0)
                switch (c) {
                case 'n':
                        asker->n_requests = strtoul(optarg, NULL, 10);
                        break;
                case 'a':
                        asker->n_agents = strtoul(optarg, NULL, 10);
                        break;
                case 'w':
                        asker->window = strtoul(optarg, NULL, 10);
                        break;
                case 'r':
                        asker->is_random = true;
                        break;
                case 'i':
                        asker->n_skipped = strtoul(optarg, NULL, 10);
                        break;
                case 'e':
                        asker->n_expected = strtoul(optarg, NULL, 10);
                        break;
                case 'l':
                        asker->limit_nsec = (uint64_t)(strtod(optarg, NULL) * 1e9);
                        break;
                default:
                        exit(2);
                }
        if (argc - optind < 2 || argc - optind > 3 || !asker->n_requests || !asker->n_agents || !asker->window ||
                !asker->n_expected)
                peer_fail("usage: bench_asker [-n REQUESTS] [-a AGENTS] [-w WINDOW] [-r] [-i SKIPPED] [-e ANSWERS] [-l "
                          "SECONDS] URL SUBJECT [BODY]");
        asker->subject = argv[optind + 1];
        asker->body = argc - optind == 3 ? argv[optind + 2] : "{}";
}

int main(int argc, char **argv) {
        Asker asker = { .n_requests = 1, .n_agents = 1, .window = 1, .n_expected = 1, .limit_nsec = 30 * NSEC_PER_SEC };
        char inbox[PEER_INBOX_MAX + 2];
        struct event *tick;

        parse_arguments(&asker, argc, argv);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        asker.sent_nsec = calloc(asker.n_requests, sizeof(*asker.sent_nsec));
        asker.waits = calloc(asker.n_requests * asker.n_expected, sizeof(*asker.waits));
        if (!asker.sent_nsec || !asker.waits)
                peer_fail("Out of memory");

        asker.peer = peer_new(argv[optind], "bench-asker");
        (void)snprintf(inbox, sizeof(inbox), "%s.*", peer_inbox(asker.peer));
        peer_subscribe(asker.peer, inbox, on_answer, &asker);
        peer_settle(asker.peer);
        peer_on_turn(asker.peer, on_turn, &asker);

        asker.start_nsec = asker.random = peer_now_nsec();
        on_turn(&asker);
        tick = event_new(peer_base(asker.peer), -1, EV_PERSIST, on_tick, &asker);
        if (!tick || event_add(tick, &(struct timeval){ .tv_usec = 250000 }) < 0)
                peer_fail("No timer");
        peer_run(asker.peer);
        print_outcome(&asker);
        return asker.n_bad > 0 || asker.n_answers < asker.n_requests * asker.n_expected ? 1 : 0;
}
