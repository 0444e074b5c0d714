/* SPDX-License-Identifier: MIT */

/*
 * bench_registry: many simulated runtimes at one dispatcher.
 *
 *     bench_registry [-n RUNTIMES] [-s SECONDS] [-p NAME=PID]... URL
 *
 * All register at once, as after a roll call, each with one agent and a reply subject, and again after a second without
 * an answer. Then each sends heartbeats at the interval the dispatcher asked for (in its answer, or later with
 * control.announce), answers probes, and registers again when asked to. At the end the dispatcher lists them, page by
 * page. One connection: what is measured is the dispatcher.
 *
 * One line of JSON: how long registering took, how much CPU each process used while idle and while heartbeats came,
 * what was asked of the runtimes meanwhile, and how many the list held, by state.
 */

#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "tests/bench/peer.h"

#define RUNTIMES_MAX 100000
#define PIDS_MAX 4
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC UINT64_C(1000000000)
#define TICK_MSEC 5
#define REGISTER_RETRY_NSEC NSEC_PER_SEC
#define REGISTER_LIMIT_NSEC (60 * NSEC_PER_SEC)
#define LIST_LIMIT_NSEC (10 * NSEC_PER_SEC)
#define PAGE_SIZE 500
#define BODY_MAX 2048
#define ID_FORMAT "sim-%05zu"
#define ID_PREFIX_LENGTH 4

typedef enum Phase {
        PHASE_IDLE,       /* what the processes use without us */
        PHASE_REGISTER,   /* until each has its answer */
        PHASE_HEARTBEATS, /* for the time asked for, after one interval of settling in */
        PHASE_LIST,
} Phase;

typedef struct SimRuntime {
        bool registered;
        uint64_t interval_nsec, next_heartbeat_nsec;
        uint64_t asked_nsec; /* when the last registration was sent */
        uint64_t sequence;
} SimRuntime;

typedef struct Watched {
        char name[32];
        int pid;
        uint64_t mark_nsec;
        double idle_share, heartbeat_share; /* of one processor */
} Watched;

typedef struct Bench {
        Peer *peer;
        SimRuntime *runtimes;
        size_t n_runtimes, n_registered;
        uint64_t epoch, random;
        char timestamp[40];

        Phase phase;
        uint64_t now_nsec, phase_nsec, seconds_nsec, mark_nsec, register_nsec;
        bool measuring;

        uint64_t n_sent, n_retries, n_refused, n_heartbeats, n_probes, n_intervals_asked, n_registrations_asked,
                n_verdicts;
        uint64_t n_measured_heartbeats;
        char first_refusal[512];

        size_t n_listed, n_live, n_pages;
        char last_listed[65];

        Watched watched[PIDS_MAX];
        size_t n_watched;
} Bench;

static uint64_t next_random(Bench *bench) {
        bench->random ^= bench->random << 13;
        bench->random ^= bench->random >> 7;
        bench->random ^= bench->random << 17;
        return bench->random;
}

/* 10 % of jitter to either side, as a runtime does. */
static uint64_t jittered(Bench *bench, uint64_t nsec) {
        return nsec - nsec / 10 + next_random(bench) % (nsec / 5 + 1);
}

/* processor time */

static void mark_cpu(Bench *bench) {
        bench->mark_nsec = peer_now_nsec();
        for (size_t i = 0; i < bench->n_watched; i++)
                bench->watched[i].mark_nsec = peer_cpu_nsec(bench->watched[i].pid);
}

static double cpu_share(const Bench *bench, const Watched *watched) {
        return (double)(peer_cpu_nsec(watched->pid) - watched->mark_nsec) /
               (double)(peer_now_nsec() - bench->mark_nsec);
}

/* what a runtime says */

static void publish_registration(Bench *bench, size_t index) {
        SimRuntime *runtime = &bench->runtimes[index];
        char subject[128], reply[PEER_INBOX_MAX + 16], body[BODY_MAX];
        int n;

        (void)snprintf(subject, sizeof(subject), "compozy.events.agent.definition." ID_FORMAT ".registered", index);
        (void)snprintf(reply, sizeof(reply), "%s.r.%zu", peer_inbox(bench->peer), index);
        n = snprintf(body, sizeof(body),
                "{\"metadata\":{\"type\":\"AgentRuntimeRegistered\",\"event_id\":\"" ID_FORMAT
                "-r\",\"correlation_id\":\"" ID_FORMAT "\",\"event_timestamp\":\"%s\",\"source_component\":\"bench\"},"
                "\"agent_runtime\":{\"runtime_id\":\"" ID_FORMAT "\",\"epoch\":%" PRIu64
                ",\"revision\":1,\"hostname\":\"sim\","
                "\"ip_address\":\"127.0.0.1\",\"pid\":1,\"version\":\"0\",\"labels\":{\"zone\":\"z%zu\"},\"agent_"
                "types\":[\"echo\"],"
                "\"agent_definitions\":[{\"agent_id\":\"agent-%05zu\",\"agent_type\":\"echo\",\"capabilities\":[],"
                "\"exclusive\":false,"
                "\"state\":\"running\"}],\"subjects\":{\"trigger\":\"compozy.runtime." ID_FORMAT
                ".trigger\",\"control\":"
                "\"compozy.runtime." ID_FORMAT ".control\"},\"capacity\":{\"max_in_flight\":64,\"max_agents\":100},"
                "\"heartbeat_interval_ms\":1000},"
                "\"payload\":{\"status\":\"REGISTERED\",\"context\":{\"reason\":\"start\",\"registration_timestamp\":"
                "\"%s\"}}}",
                index, index, bench->timestamp, index, bench->epoch, index % 8, index, index, index, bench->timestamp);
        peer_publish(bench->peer, subject, reply, body, (size_t)n);
        runtime->asked_nsec = bench->now_nsec;
        bench->n_sent++;
}

static void publish_heartbeat(Bench *bench, size_t index) {
        SimRuntime *runtime = &bench->runtimes[index];
        char subject[128], body[BODY_MAX];
        int n;

        runtime->sequence++;
        runtime->next_heartbeat_nsec = bench->now_nsec + jittered(bench, runtime->interval_nsec);
        (void)snprintf(subject, sizeof(subject), "compozy.events.agent.definition." ID_FORMAT ".heartbeat", index);
        n = snprintf(body, sizeof(body),
                "{\"metadata\":{\"type\":\"AgentRuntimeHeartbeat\",\"event_id\":\"" ID_FORMAT "-%" PRIu64
                "\",\"correlation_id\":\"" ID_FORMAT "\",\"event_timestamp\":\"%s\",\"source_component\":\"bench\"},"
                "\"agent_runtime\":{\"runtime_id\":\"" ID_FORMAT "\",\"epoch\":%" PRIu64 ",\"revision\":1},"
                "\"payload\":{\"sequence\":%" PRIu64 ",\"interval_ms\":%" PRIu64 ",\"draining\":false,"
                "\"load\":{\"in_flight\":0,\"queued\":0,\"agents\":1,\"free_slots\":64}}}",
                index, runtime->sequence, index, bench->timestamp, index, bench->epoch, runtime->sequence,
                runtime->interval_nsec / NSEC_PER_MSEC);
        peer_publish(bench->peer, subject, NULL, body, (size_t)n);
        bench->n_heartbeats++;
}

static void publish_list_request(Bench *bench) {
        char reply[PEER_INBOX_MAX + 16], body[128];
        int n;

        (void)snprintf(reply, sizeof(reply), "%s.l.%zu", peer_inbox(bench->peer), bench->n_pages);
        n = bench->n_pages == 0
                    ? snprintf(body, sizeof(body), "{\"limit\":%d}", PAGE_SIZE)
                    : snprintf(body, sizeof(body), "{\"after\":\"%s\",\"limit\":%d}", bench->last_listed, PAGE_SIZE);
        peer_publish(bench->peer, "compozy.commands.agent_dispatcher.list_runtimes", reply, body, (size_t)n);
}

/* what it hears */

static void set_interval(Bench *bench, SimRuntime *runtime, json_int_t interval_ms) {
        if (interval_ms > 0)
                runtime->interval_nsec = (uint64_t)interval_ms * NSEC_PER_MSEC;
        if (runtime->next_heartbeat_nsec > bench->now_nsec + runtime->interval_nsec)
                runtime->next_heartbeat_nsec = bench->now_nsec + jittered(bench, runtime->interval_nsec);
}

static void on_registration_answer(Bench *bench, size_t index, json_t *answer) {
        SimRuntime *runtime = &bench->runtimes[index];
        const json_t *result = json_object_get(answer, "result");

        if (!json_is_true(json_object_get(answer, "ok"))) {
                if (bench->n_refused++ == 0) {
                        char *text = json_dumps(answer, JSON_COMPACT);

                        (void)snprintf(bench->first_refusal, sizeof(bench->first_refusal), "%s", text ? text : "");
                        free(text);
                }
                return;
        }
        if (!json_is_true(json_object_get(result, "complete")))
                return;

        set_interval(bench, runtime, json_integer_value(json_object_get(result, "heartbeat_interval_ms")));
        if (runtime->registered)
                return;
        runtime->registered = true;
        runtime->next_heartbeat_nsec = bench->now_nsec + next_random(bench) % runtime->interval_nsec;
        bench->n_registered++;
        bench->register_nsec = bench->now_nsec - bench->phase_nsec;
}

static void on_list_page(Bench *bench, json_t *answer) {
        const json_t *page = json_object_get(json_object_get(answer, "result"), "runtimes");
        size_t i;
        json_t *entry;

        if (!json_is_array(page))
                peer_fail("list_runtimes was answered with something else");
        bench->n_pages++;
        json_array_foreach(page, i, entry) {
                const char *id = json_string_value(json_object_get(entry, "runtime_id"));
                const char *state = json_string_value(json_object_get(entry, "state"));

                if (!id || !state || strcmp(id, bench->last_listed) <= 0)
                        peer_fail("list_runtimes: an entry without id or state, or out of order, after \"%s\"",
                                bench->last_listed);
                (void)snprintf(bench->last_listed, sizeof(bench->last_listed), "%s", id);
                bench->n_listed++;
                bench->n_live += strcmp(state, "live") == 0;
        }
        if (json_array_size(page) == 0)
                peer_stop(bench->peer);
        else
                publish_list_request(bench);
}

static void on_answer(natsMsg *msg, void *userdata) {
        Bench *bench = userdata;
        const char *rest = natsMsg_GetSubject(msg) + strlen(peer_inbox(bench->peer));
        json_auto_t *answer = json_loadb(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), 0, NULL);
        const size_t index = strtoul(rest + strlen(".r."), NULL, 10);

        bench->now_nsec = peer_now_nsec();
        if (!answer) /* "no responders" */
                return;
        if (rest[1] == 'l')
                on_list_page(bench, answer);
        else if (index < bench->n_runtimes)
                on_registration_answer(bench, index, answer);
}

static void on_announce(Bench *bench, size_t index, natsMsg *msg) {
        json_auto_t *body = json_loadb(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), 0, NULL);
        const json_t *payload = json_object_get(body, "payload");

        bench->now_nsec = peer_now_nsec();
        set_interval(
                bench, &bench->runtimes[index], json_integer_value(json_object_get(payload, "heartbeat_interval_ms")));
        if (json_is_false(json_object_get(payload, "register"))) {
                bench->n_intervals_asked++;
                return;
        }
        bench->n_registrations_asked++;
        publish_registration(bench, index);
}

/* compozy.runtime.<id>.control.<verb> */
static void on_control(natsMsg *msg, void *userdata) {
        Bench *bench = userdata;
        const char *subject = natsMsg_GetSubject(msg), *verb = strrchr(subject, '.') + 1;
        const size_t index = strtoul(subject + strlen("compozy.runtime.") + ID_PREFIX_LENGTH, NULL, 10);
        char body[512];
        int n;

        if (index >= bench->n_runtimes)
                return;
        if (strcmp(verb, "announce") == 0) {
                on_announce(bench, index, msg);
        } else if (strcmp(verb, "status") == 0 && natsMsg_GetReply(msg)) {
                bench->n_probes++;
                n = snprintf(body, sizeof(body),
                        "{\"ok\":true,\"result\":{\"runtime_id\":\"" ID_FORMAT "\",\"epoch\":%" PRIu64
                        ",\"revision\":1,"
                        "\"draining\":false,\"load\":{\"in_flight\":0,\"queued\":0,\"agents\":1,\"free_slots\":64}}}",
                        index, bench->epoch);
                peer_publish(bench->peer, natsMsg_GetReply(msg), NULL, body, (size_t)n);
        }
}

static void on_verdict(natsMsg *msg, void *userdata) {
        Bench *bench = userdata;

        (void)msg;
        bench->n_verdicts++;
}

/* the course of the measurement */

static void enter(Bench *bench, Phase phase) {
        bench->phase = phase;
        bench->phase_nsec = bench->now_nsec;
}

static void tick_idle(Bench *bench) {
        if (bench->now_nsec < bench->phase_nsec + bench->seconds_nsec / 3)
                return;

        for (size_t i = 0; i < bench->n_watched; i++)
                bench->watched[i].idle_share = cpu_share(bench, &bench->watched[i]);
        enter(bench, PHASE_REGISTER);
        for (size_t i = 0; i < bench->n_runtimes; i++)
                publish_registration(bench, i);
}

static void tick_register(Bench *bench) {
        if (bench->n_registered == bench->n_runtimes) {
                enter(bench, PHASE_HEARTBEATS);
                return;
        }
        if (bench->now_nsec > bench->phase_nsec + REGISTER_LIMIT_NSEC)
                peer_fail("%zu of %zu runtimes are registered after a minute; first refusal: %s", bench->n_registered,
                        bench->n_runtimes, bench->first_refusal);
        for (size_t i = 0; i < bench->n_runtimes; i++) {
                const SimRuntime *runtime = &bench->runtimes[i];

                if (runtime->registered || bench->now_nsec < runtime->asked_nsec + REGISTER_RETRY_NSEC)
                        continue;
                publish_registration(bench, i);
                bench->n_retries++;
        }
}

static void beat(Bench *bench) {
        for (size_t i = 0; i < bench->n_runtimes; i++)
                if (bench->runtimes[i].registered && bench->now_nsec >= bench->runtimes[i].next_heartbeat_nsec)
                        publish_heartbeat(bench, i);
}

static void tick_heartbeats(Bench *bench) {
        if (!bench->measuring) {
                if (bench->now_nsec < bench->phase_nsec + bench->seconds_nsec / 10)
                        return;
                bench->measuring = true;
                bench->phase_nsec = bench->now_nsec;
                bench->n_measured_heartbeats = bench->n_heartbeats;
                mark_cpu(bench);
                return;
        }
        if (bench->now_nsec < bench->phase_nsec + bench->seconds_nsec)
                return;

        for (size_t i = 0; i < bench->n_watched; i++)
                bench->watched[i].heartbeat_share = cpu_share(bench, &bench->watched[i]);
        bench->n_measured_heartbeats = bench->n_heartbeats - bench->n_measured_heartbeats;
        bench->measuring = false;
        enter(bench, PHASE_LIST);
        publish_list_request(bench);
}

static void on_tick(evutil_socket_t fd, short what, void *userdata) {
        Bench *bench = userdata;

        (void)fd;
        (void)what;

        bench->now_nsec = peer_now_nsec();
        switch (bench->phase) {
        case PHASE_IDLE:
                tick_idle(bench);
                break;
        case PHASE_REGISTER:
                tick_register(bench);
                break;
        case PHASE_HEARTBEATS:
                tick_heartbeats(bench);
                break;
        case PHASE_LIST:
                if (bench->now_nsec > bench->phase_nsec + LIST_LIMIT_NSEC)
                        peer_fail("list_runtimes did not come to an end");
                break;
        }
        if (bench->phase != PHASE_IDLE)
                beat(bench);
        peer_write(bench->peer);
}

static void print_outcome(const Bench *bench) {
        json_auto_t *outcome = NULL;

        outcome = json_pack("{s:I, s:f, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "runtimes",
                (json_int_t)bench->n_runtimes, "register_seconds", (double)bench->register_nsec / 1e9,
                "registrations_sent", (json_int_t)bench->n_sent, "refused", (json_int_t)bench->n_refused,
                "heartbeats_per_second", (double)bench->n_measured_heartbeats / ((double)bench->seconds_nsec / 1e9),
                "interval_seconds", (double)bench->runtimes[0].interval_nsec / 1e9, "probes",
                (json_int_t)bench->n_probes, "intervals_asked", (json_int_t)bench->n_intervals_asked,
                "registrations_asked", (json_int_t)bench->n_registrations_asked, "verdicts",
                (json_int_t)bench->n_verdicts, "listed", (json_int_t)bench->n_listed, "listed_live",
                (json_int_t)bench->n_live, "list_pages", (json_int_t)bench->n_pages);
        for (size_t i = 0; i < bench->n_watched; i++)
                (void)json_object_set_new(outcome, bench->watched[i].name,
                        json_pack("{s:f, s:f}", "idle_share", bench->watched[i].idle_share, "heartbeat_share",
                                bench->watched[i].heartbeat_share));
        (void)json_dumpf(outcome, stdout, JSON_REAL_PRECISION(6));
        (void)putchar('\n');
}

static void watch(Bench *bench, const char *argument) {
        Watched *watched = &bench->watched[bench->n_watched];

        if (bench->n_watched == PIDS_MAX || sscanf(argument, "%31[^=]=%d", watched->name, &watched->pid) != 2)
                peer_fail("Not NAME=PID, or too many: %s", argument);
        bench->n_watched++;
}

static void start(Bench *bench, const char *url) {
        char subject[PEER_INBOX_MAX + 8];
        const time_t now = time(NULL);
        struct tm tm;

        (void)strftime(bench->timestamp, sizeof(bench->timestamp), "%Y-%m-%dT%H:%M:%S.000000Z", gmtime_r(&now, &tm));
        bench->epoch = (uint64_t)now * 1000;
        bench->random = peer_now_nsec() | 1;
        bench->runtimes = calloc(bench->n_runtimes, sizeof(bench->runtimes[0]));
        if (!bench->runtimes)
                peer_fail("Out of memory");
        for (size_t i = 0; i < bench->n_runtimes; i++)
                bench->runtimes[i].interval_nsec = NSEC_PER_SEC; /* until a dispatcher asks for another */

        bench->peer = peer_new(url, "bench-registry");
        (void)snprintf(subject, sizeof(subject), "%s.>", peer_inbox(bench->peer));
        peer_subscribe(bench->peer, subject, on_answer, bench);
        peer_subscribe(bench->peer, "compozy.runtime.*.control.*", on_control, bench);
        peer_subscribe(bench->peer, "compozy.events.agent.definition.*.deregistered", on_verdict, bench);
        peer_settle(bench->peer);
}

int main(int argc, char **argv) {
        Bench bench = { .n_runtimes = 10000, .seconds_nsec = 10 * NSEC_PER_SEC };
        struct event *tick;
        int c;

        while ((c = getopt(argc, argv, "n:s:p:")) >= 0)
                switch (c) {
                case 'n':
                        bench.n_runtimes = strtoul(optarg, NULL, 10);
                        break;
                case 's':
                        bench.seconds_nsec = (uint64_t)(strtod(optarg, NULL) * 1e9);
                        break;
                case 'p':
                        watch(&bench, optarg);
                        break;
                default:
                        return 2;
                }
        if (argc - optind != 1 || bench.n_runtimes == 0 || bench.n_runtimes > RUNTIMES_MAX || bench.seconds_nsec == 0)
                peer_fail("usage: bench_registry [-n RUNTIMES] [-s SECONDS] [-p NAME=PID]... URL");

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        start(&bench, argv[optind]);
        bench.now_nsec = peer_now_nsec();
        enter(&bench, PHASE_IDLE);
        mark_cpu(&bench);

        tick = event_new(peer_base(bench.peer), -1, EV_PERSIST, on_tick, &bench);
        if (!tick || event_add(tick, &(struct timeval){ .tv_usec = TICK_MSEC * 1000 }) < 0)
                peer_fail("No timer");
        peer_run(bench.peer);
        print_outcome(&bench);
        return bench.n_live == bench.n_runtimes && bench.n_listed == bench.n_runtimes && bench.n_verdicts == 0 ? 0 : 1;
}
