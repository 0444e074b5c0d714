/* SPDX-License-Identifier: MIT */

/*
 * A plugin that does what its input says, and tells what became of it: the tests' finger on each function of the host.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compozy/behavior.h"

typedef struct Probe {
        char state[64];
} Probe;

static compozy_call *kept_call;

static compozy_bytes text(const char *string) {
        return compozy_text(string);
}

/* what a message can say */

static void do_output(compozy_call *call) {
        (void)call->host->output(call, text("first"));
        (void)call->host->output(call, text("{\"second\":2}"));
}

static void do_fail(compozy_call *call) {
        (void)call->host->output(call, text("overruled"));
        (void)call->host->fail(call, "TIMEOUT", text("it took too long"));
}

static void do_fail_unknown(compozy_call *call) {
        (void)call->host->fail(call, "NO_SUCH_CODE", compozy_absent());
}

/* A sentence of three-byte characters, which the limit cuts in the middle of one. */
static void do_fail_long(compozy_call *call) {
        static char sentence[3 * COMPOZY_SENTENCE_MAX];

        for (size_t i = 0; i < sizeof(sentence); i += 3)
                memcpy(sentence + i, "\xe2\x82\xac", 3);
        (void)call->host->fail(call, NULL, compozy_bytes_of(sentence, sizeof(sentence)));
}

static void do_defer(compozy_call *call) {
        (void)call->host->output(call, text("overruled"));
        (void)call->host->defer(call, 5000);
}

static void do_defer_for_ever(compozy_call *call) {
        (void)call->host->defer(call, UINT64_MAX);
}

static void do_keep_open(compozy_call *call) {
        (void)call->host->keep_open(call);
}

static void do_nothing(compozy_call *call) {
        (void)call;
}

static void do_huge_output(compozy_call *call) {
        (void)call->host->output(call, compozy_bytes_of("x", (size_t)COMPOZY_BYTES_MAX + 1));
}

static void do_lost_output(compozy_call *call) {
        (void)call->host->output(call, compozy_bytes_of(NULL, 7));
}

static void do_all_wishes(compozy_call *call) {
        const compozy_host *host = call->host;
        const compozy_header headers[] = { { text("A"), text("1") }, { text("Compozy-Ttl"), text("3") } };
        const int results[] = {
                host->reply(call, 71, text("[7]")),
                host->reply_error(call, 72, "CANCELLED", text("no more")),
                host->publish(call, text("a.b"), compozy_bytes_of("\0\xff", 2), headers, 2, 0),
                host->publish(call, text("a.c"), compozy_absent(), NULL, 0, 31),
                host->ask(call, text("friend"), text("how?"), 1000, 32),
                host->invoke(call, text("search"), text("{}"), text("key"), 2000, 33),
                host->trigger(call, text("worker"), compozy_absent(), 3000, 34),
                host->subscribe(call, text("t.>"), compozy_absent(), COMPOZY_QOS_DEFAULT, 0),
                host->subscribe(call, text("t.*"), text("q"), COMPOZY_QOS_REALTIME, 35),
                host->unsubscribe(call, text("t.>"), 36),
                host->set_timer(call, 37, 4000),
                host->cancel_timer(call, 37),
                host->checkpoint(call, 38),
                host->stop(call),
                host->log(call, COMPOZY_LOG_NOTICE, text("said"), text("{\"n\":1}")),
        };
        int worst = 0;

        for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
                if (results[i] < worst)
                        worst = results[i];
        (void)host->output(call, worst == 0 ? text("\"all\"") : text("\"some were refused\""));
}

static void do_senseless_wishes(compozy_call *call) {
        static char many[COMPOZY_HEADERS_BYTES_MAX + 1];
        const compozy_host *host = call->host;
        const compozy_bytes lost = compozy_bytes_of(NULL, 3), huge = compozy_bytes_of("x", SIZE_MAX);
        const compozy_header nameless = { compozy_absent(), text("v") }, split = { text("A"), text("v\r\nB: w") },
                             colon = { text("A:"), text("v") }, large = { text("A"), { many, sizeof(many) } };
        const int results[] = {
                host->reply(call, 1, lost),
                host->reply(call, 1, huge),
                host->publish(call, text("a.*"), text("x"), NULL, 0, 0),
                host->publish(call, compozy_absent(), text("x"), NULL, 0, 0),
                host->publish(call, huge, text("x"), NULL, 0, 0),
                host->publish(call, text("a"), lost, NULL, 0, 0),
                host->publish(call, text("a"), huge, NULL, 0, 0),
                host->publish(call, text("a"), text("x"), NULL, 1, 0),
                host->publish(call, text("a"), text("x"), &nameless, 1, 0),
                host->publish(call, text("a"), text("x"), &split, 1, 0),
                host->publish(call, text("a"), text("x"), &colon, 1, 0),
                host->publish(call, text("a"), text("x"), &large, 1, 0),
                host->publish(call, text("a"), text("x"), &large, COMPOZY_HEADERS_MAX + 1, 0),
                host->ask(call, text("no.id"), text("x"), 0, 1),
                host->ask(call, lost, text("x"), 0, 1),
                host->ask(call, text("id"), text("x"), UINT64_MAX, 1),
                host->invoke(call, text("a b"), text("x"), compozy_absent(), 0, 1),
                host->invoke(call, text("a"), text("x"), compozy_bytes_of(many, COMPOZY_KEY_MAX + 1), 0, 1),
                host->trigger(call, text("id"), text("{not JSON"), 0, 1),
                host->trigger(call, text("id"), text("1 2"), 0, 1),
                host->trigger(call, text("id"), huge, 0, 1),
                host->subscribe(call, text("a..b"), compozy_absent(), 0, 0),
                host->subscribe(call, text("a"), text("b c"), 0, 0),
                host->subscribe(call, text("a"), compozy_absent(), 4, 0),
                host->subscribe(call, huge, compozy_absent(), 0, 0),
                host->unsubscribe(call, text(""), 0),
                host->set_timer(call, 1, UINT64_MAX),
                host->log(call, 8, text("x"), compozy_absent()),
                host->log(call, 6, text("x"), text("[1]")),
                host->log(call, 6, huge, compozy_absent()),
        };
        char said[256];
        size_t n = 0;

        for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
                n += (size_t)snprintf(said + n, sizeof(said) - n, "%d", -results[i]);
        (void)host->output(call, compozy_bytes_of(said, n));
}

static void do_too_many_wishes(compozy_call *call) {
        int n = 0, r;

        do {
                r = call->host->checkpoint(call, 0);
                n += r == COMPOZY_OK;
        } while (r == COMPOZY_OK);
        (void)call->host->output(call, n == COMPOZY_WISHES_MAX && r == COMPOZY_E_LIMIT ? text("1") : text("0"));
}

static void do_keep_call(compozy_call *call) {
        kept_call = call;
}

typedef struct Attempt {
        const compozy_host *host;
        compozy_call *call;
        int result;
} Attempt;

static void *use_elsewhere(void *userdata) {
        Attempt *attempt = userdata;

        attempt->result = attempt->host->output(attempt->call, text("from elsewhere"));
        return NULL;
}

static void do_use_of_another_thread(compozy_call *call) {
        Attempt attempt = { call->host, call, COMPOZY_OK };
        pthread_t thread;

        if (pthread_create(&thread, NULL, use_elsewhere, &attempt) == 0)
                (void)pthread_join(thread, NULL);
        (void)call->host->output(call, attempt.result == COMPOZY_E_NOT_NOW ? text("1") : text("0"));
}

/* This call may well have the place of the one that was kept; a byte further on there is no call for certain. */
static void do_use_of_kept_call(compozy_call *call) {
        const int a = call->host->output((compozy_call *)((char *)kept_call + 1), text("misdirected"));
        const int b = call->host->publish((compozy_call *)((char *)kept_call + 1), text("a"), text("b"), NULL, 0, 0);

        (void)call->host->output(
                call, a == COMPOZY_E_NOT_NOW && b == COMPOZY_E_NOT_NOW && kept_call ? text("1") : text("0"));
}

static const struct {
        const char *name;
        void (*fn)(compozy_call *call);
} commands[] = {
        { "output", do_output },
        { "fail", do_fail },
        { "fail_unknown", do_fail_unknown },
        { "fail_long", do_fail_long },
        { "defer", do_defer },
        { "defer_for_ever", do_defer_for_ever },
        { "keep_open", do_keep_open },
        { "nothing", do_nothing },
        { "huge_output", do_huge_output },
        { "lost_output", do_lost_output },
        { "all_wishes", do_all_wishes },
        { "senseless_wishes", do_senseless_wishes },
        { "too_many_wishes", do_too_many_wishes },
        { "keep_call", do_keep_call },
        { "another_thread", do_use_of_another_thread },
        { "kept_call", do_use_of_kept_call },
};

static void say_message(compozy_call *call, const compozy_message *m) {
        char said[512];
        const int n = snprintf(said, sizeof(said),
                "kind %u id %llu token %llu attempt %llu agent %.*s exec %.*s topic %.*s input %.*s error %s thread "
                "%.*s correlation %.*s sender %.*s reply_to %.*s ttl %llu hop %llu request %u trace %.*s",
                m->kind, (unsigned long long)m->id, (unsigned long long)m->token, (unsigned long long)m->attempt,
                (int)m->agent_id.size, m->agent_id.data, (int)m->exec_id.size, m->exec_id.data, (int)m->topic.size,
                m->topic.data, (int)m->input.size, m->input.data, m->error ? m->error : "none", (int)m->thread_id.size,
                m->thread_id.data, (int)m->correlation_id.size, m->correlation_id.data, (int)m->sender.size,
                m->sender.data, (int)m->reply_to.size, m->reply_to.data, (unsigned long long)m->ttl,
                (unsigned long long)m->hop, m->is_request, (int)m->traceparent.size, m->traceparent.data);

        (void)call->host->output(call, compozy_bytes_of(said, (size_t)n));
        (void)call->host->log(call, COMPOZY_LOG_INFO, compozy_bytes_of(said, (size_t)n), compozy_absent());
}

/* hooks */

static int probe_init(compozy_call *call, const compozy_start *start, void **ret_agent) {
        const compozy_host *host = call->host;
        Probe *probe;

        if (start->size < sizeof(*start) || host->size < sizeof(*host) || host->abi_major != COMPOZY_ABI_MAJOR)
                return COMPOZY_E_REFUSED;
        if (start->parameters.size > 0 && strncmp(start->parameters.data, "{\"refuse\"", 9) == 0) {
                (void)host->set_timer(call, 1, 1);
                (void)host->fail(call, NULL, text("it was told to refuse"));
                return COMPOZY_E_REFUSED;
        }
        if (start->parameters.size > 0 && strncmp(start->parameters.data, "{\"quiet\"", 8) == 0)
                return 42;
        if (start->state.data && start->state.size >= sizeof(probe->state)) {
                (void)host->fail(call, NULL, text("this state is not mine"));
                return COMPOZY_E_STATE;
        }
        if (host->output(call, text("x")) != COMPOZY_E_NOT_NOW || host->defer(call, 1) != COMPOZY_E_NOT_NOW)
                return COMPOZY_E_REFUSED;

        probe = calloc(1, sizeof(*probe));
        if (!probe)
                return COMPOZY_E_MEMORY;
        if (start->state.data)
                memcpy(probe->state, start->state.data, start->state.size);
        (void)host->set_timer(call, 9, 1000000);

        *ret_agent = probe;
        return COMPOZY_OK;
}

static void probe_stop(void *agent) {
        free(agent);
}

static void probe_handle(void *agent, compozy_call *call, const compozy_message *message) {
        Probe *probe = agent;

        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
                if (strlen(commands[i].name) == message->input.size &&
                        memcmp(commands[i].name, message->input.data, message->input.size) == 0) {
                        (void)snprintf(probe->state, sizeof(probe->state), "last was %s", commands[i].name);
                        commands[i].fn(call);
                        return;
                }

        say_message(call, message);
}

static int probe_checkpoint(void *agent, compozy_call *call) {
        const Probe *probe = agent;

        if (call->host->publish(call, text("a"), text("b"), NULL, 0, 0) != COMPOZY_E_NOT_NOW)
                return COMPOZY_E_REFUSED;
        if (strcmp(probe->state, "last was fail") == 0) {
                (void)call->host->fail(call, NULL, text("nothing worth keeping"));
                return COMPOZY_E_REFUSED;
        }
        if (strcmp(probe->state, "last was nothing") == 0)
                return COMPOZY_E_REFUSED;

        return call->host->output(call, text(probe->state));
}

const compozy_behavior compozy_behavior_table = {
        COMPOZY_BEHAVIOR_HEAD,
        "probe",
        "does what its input says",
        probe_init,
        probe_stop,
        probe_handle,
        probe_checkpoint,
};
