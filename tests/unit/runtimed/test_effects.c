/* SPDX-License-Identifier: MIT */

#include "runtimed/diag.h"
#include "tests/unit/runtimed/failing.h"
#include "tests/unit/runtimed/world.h"

/* a behaviour that wants what a test says, and keeps what it gets */

typedef struct Got {
        MessageKind kind;
        uint64_t id, token;
        ErrorCode code;
        char input[256], thread[64];
        uint64_t ttl, hop;
} Got;

static Effect wanted[2048]; /* with the next message that is no answer */
static size_t n_wanted;
static BehaviorVerdict verdict; /* of that message */
static bool is_list_failed;
static Got got[512];
static size_t n_got;
static void (*on_answer)(const BehaviorMessage *message, BehaviorReply *reply);

static int wisher_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        (void)start;
        (void)ret_why;
        (void)why_size;
        *ret_state = malloc(1);
        return *ret_state ? 0 : -ENOMEM;
}

static int wisher_checkpoint(void *state, Buffer *ret) {
        (void)state;
        buffer_append_slice(ret, SLICE("state"));
        return 0;
}

static void add(BehaviorReply *reply, const Effect *draft) {
        Effect *effect = effects_add(&reply->effects, draft->kind);

        assert_non_null(effect);
        *effect = *draft;
        effect->target = effects_keep(&reply->effects, draft->target);
        effect->payload = effects_keep(&reply->effects, draft->payload);
        effect->headers = effects_keep(&reply->effects, draft->headers);
        effect->key = effects_keep(&reply->effects, draft->key);
}

static void keep(const BehaviorMessage *message) {
        Got *g = &got[n_got++];

        assert_true(n_got <= ELEMENTSOF(got));
        *g = (Got){ .kind = message->kind,
                .id = message->id,
                .token = message->token,
                .code = message->code,
                .ttl = message->envelope->ttl,
                .hop = message->envelope->hop };
        (void)snprintf(g->input, sizeof(g->input), "%.*s", SLICE_ARG(message->input));
        (void)snprintf(g->thread, sizeof(g->thread), "%.*s", SLICE_ARG(message->envelope->thread_id));
}

static void wisher_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        (void)state;
        keep(message);
        reply->verdict = BEHAVIOR_DONE;
        if (message->kind == MESSAGE_ANSWER) {
                if (on_answer)
                        on_answer(message, reply);
                return;
        }
        for (size_t i = 0; i < n_wanted; i++)
                add(reply, &wanted[i]);
        reply->effects.failed = is_list_failed;
        reply->verdict = verdict;
        reply->defer_usec = USEC_PER_SEC;
        if (verdict == BEHAVIOR_DONE)
                buffer_append_slice(&reply->output, SLICE("\"done\""));
        n_wanted = 0;
        verdict = BEHAVIOR_DONE;
}

#define WISHER .trusted = true, .init = wisher_init, .stop = free, .handle = wisher_handle

static const Behavior behavior_wisher = { .type = "wisher", WISHER };
static const Behavior behavior_keeper = { .type = "keeper", WISHER, .checkpoint = wisher_checkpoint };
static const Behavior *const wishers[] = { &behavior_wisher, &behavior_keeper, &behavior_remote, &behavior_echo,
        &behavior_counter, &behavior_delay, NULL };

static void begin_wishing_with(World *world, RuntimeOptions options) {
        script = (Script){};
        n_wanted = n_got = 0;
        verdict = BEHAVIOR_DONE;
        is_list_failed = false;
        on_answer = NULL;
        options.behaviors = wishers;
        build(world, &options);
        world->plays_worker = world->plays_store = true;
        create(world, "{\"agent_id\":\"a\",\"agent_type\":\"wisher\",\"subscribed_topics\":[\"in\"]}");
        turn(world);
        link_up(world);
        take_registration(world, 5000);
        forget_sent(world);
}

static void begin_wishing(World *world) {
        begin_wishing_with(world, default_options());
}

static void want(Effect effect) {
        wanted[n_wanted++] = effect;
}

#define WANT(...) want((Effect){ __VA_ARGS__ })
#define TO(text) .target = SLICE(text)
#define WITH(text) .payload = SLICE(text)

/* Gives `a` a message, which makes it want what was said. */
static void prompt(World *world) {
        publish_with(world, "in", NULL, "Compozy-Thread-Id: t1\r\nCompozy-Ttl: 9\r\nCompozy-Hop: 2\r\n", "go");
}

static const Got *last_got(MessageKind kind) {
        for (size_t i = n_got; i > 0; i--)
                if (got[i - 1].kind == kind)
                        return &got[i - 1];
        return NULL;
}

static size_t count_got(MessageKind kind) {
        size_t n = 0;

        for (size_t i = 0; i < n_got; i++)
                n += got[i].kind == kind;
        return n;
}

static const char *code_text(ErrorCode code) {
        return code == ERROR_NONE ? "none" : error_code_name(code);
}

static void assert_answer(uint64_t token, ErrorCode code, const char *input) {
        const Got *g = last_got(MESSAGE_ANSWER);

        assert_non_null(g);
        assert_int_equal(g->token, token);
        assert_string_equal(code_text(g->code), code_text(code));
        if (input && !strstr(g->input, input))
                fail_msg("\"%s\" has no \"%s\"", g->input, input);
}

static void say_with(World *world, const char *subject, const char *headers, const char *body) {
        InMessage message = { .subject = slice_of(subject), .headers = slice_of(headers), .body = slice_of(body) };

        runtime_on_message(world->runtime, &message, world->now);
        turn(world);
}

static void say_nobody(World *world, const char *subject) {
        InMessage message = { .subject = slice_of(subject), .body = SLICE(""), .no_responders = true };

        runtime_on_message(world->runtime, &message, world->now);
        turn(world);
}

/* What the agent has published comes to those who are subscribed here. */
static void pass_on(World *world, const char *subject) {
        const Sent *sent = last_sent(world, subject);
        Sent copy = { copy_of(slice_of(sent->subject)), copy_of(slice_of(sent->reply)),
                copy_of(slice_of(sent->headers)), copy_of(slice_of(sent->body)) };

        publish_with(world, copy.subject, copy.reply, copy.headers, copy.body);
        free(copy.subject);
        free(copy.reply);
        free(copy.headers);
        free(copy.body);
}

static void assert_header(const Sent *sent, const char *name, const char *value) {
        const Slice found = headers_get(slice_of(sent->headers), slice_of(name));

        if (!slice_equal(found, slice_of(value)))
                fail_msg("%s is \"%.*s\", not \"%s\"", name, SLICE_ARG(found), value);
}

/* publishing */

static void what_is_published_carries_on_the_conversation_of_its_message(void **state) {
        const Sent *sent;
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_PUBLISH, TO("out"), WITH("hello"), .headers = SLICE("X-Mine: 1\r\n"));
        prompt(&w);
        sent = last_sent(&w, "out");
        assert_string_equal(sent->body, "hello");
        assert_header(sent, "Compozy-Thread-Id", "t1");
        assert_header(sent, "Compozy-Sender", "agent.a");
        assert_header(sent, "Compozy-Ttl", "8");
        assert_header(sent, "Compozy-Hop", "3");
        assert_header(sent, "X-Mine", "1");
        assert_int_equal(count_got(MESSAGE_ANSWER), 0);

        WANT(.kind = EFFECT_PUBLISH, TO("out"), .token = 7, .wants_answer = true);
        prompt(&w);
        assert_answer(7, ERROR_NONE, "");
        assert_int_equal(w.runtime->counters.effects[EFFECT_PUBLISH], 2);
        end_world(&w);
}

static void an_agent_may_hear_what_it_has_published_itself(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_PUBLISH, TO("in"), WITH("again"));
        prompt(&w);
        pass_on(&w, "in");
        assert_int_equal(count_got(MESSAGE_TOPIC), 2);
        assert_int_equal(last_got(MESSAGE_TOPIC)->ttl, 7);
        end_world(&w);
}

static void every_wish_that_is_refused_is_counted_and_answered_with_its_reason(void **state) {
        static char large[70000];
        static const struct {
                Effect effect;
                ErrorCode code;
                const char *text;
        } rows[] = {
                { { .kind = EFFECT_PUBLISH, TO("compozy.commands.x") }, ERROR_TOPIC_FORBIDDEN, "reserved" },
                { { .kind = EFFECT_PUBLISH, TO("compozy") }, ERROR_TOPIC_FORBIDDEN, "reserved" },
                { { .kind = EFFECT_PUBLISH, TO("compozy.results.agent.x") }, ERROR_TOPIC_FORBIDDEN, "reserved" },
                { { .kind = EFFECT_PUBLISH, TO("$JS.API.x") }, ERROR_TOPIC_FORBIDDEN, "reserved" },
                { { .kind = EFFECT_PUBLISH, TO("a.*") }, ERROR_INVALID_MESSAGE, "a.*" },
                { { .kind = EFFECT_PUBLISH, TO("a b") }, ERROR_INVALID_MESSAGE, "a b" },
                { { .kind = EFFECT_PUBLISH }, ERROR_INVALID_MESSAGE, "" },
                { { .kind = EFFECT_PUBLISH, TO("x"), .headers = SLICE("Compozy-Reply-To:   $SYS.x\r\n") },
                        ERROR_TOPIC_FORBIDDEN, "Reply-To" },
                { { .kind = EFFECT_PUBLISH, TO("x"), .headers = SLICE("Compozy-Reply-To: compozy.commands.x\r\n") },
                        ERROR_TOPIC_FORBIDDEN, "Reply-To" },
                { { .kind = EFFECT_PUBLISH, TO("x"), .headers = SLICE("Compozy-Sender: agent.b\r\n") },
                        ERROR_INVALID_MESSAGE, "Compozy-Sender" },
                { { .kind = EFFECT_PUBLISH, TO("x"), .headers = SLICE("Compozy-Ttl: 99\r\n") }, ERROR_INVALID_MESSAGE,
                        "Compozy-Ttl" },
                { { .kind = EFFECT_PUBLISH, TO("x"), .payload = { large, sizeof(large) } }, ERROR_LIMIT_EXCEEDED,
                        "max_message_bytes" },
                { { .kind = EFFECT_ASK, TO("no agent") }, ERROR_INVALID_MESSAGE, "agent_id" },
                { { .kind = EFFECT_ASK, TO("b"), .payload = { large, sizeof(large) } }, ERROR_LIMIT_EXCEEDED,
                        "max_message_bytes" },
                { { .kind = EFFECT_INVOKE, TO("a b") }, ERROR_INVALID_MESSAGE, "a b" },
                { { .kind = EFFECT_INVOKE, TO("x"), .key = { large, 257 } }, ERROR_INVALID_MESSAGE, "256" },
                { { .kind = EFFECT_INVOKE, TO("x"), .payload = { large, sizeof(large) } }, ERROR_LIMIT_EXCEEDED,
                        "max_message_bytes" },
                { { .kind = EFFECT_TRIGGER }, ERROR_INVALID_MESSAGE, "agent_id" },
                { { .kind = EFFECT_SUBSCRIBE, TO(">") }, ERROR_TOPIC_FORBIDDEN, "reserved" },
                { { .kind = EFFECT_SUBSCRIBE, TO("in") }, ERROR_ALREADY_SUBSCRIBED, "in" },
                { { .kind = EFFECT_SUBSCRIBE, TO("x"), .qos = 99 }, ERROR_INVALID_MESSAGE, "99" },
                { { .kind = EFFECT_UNSUBSCRIBE, TO("x") }, ERROR_NOT_SUBSCRIBED, "x" },
                { { .kind = EFFECT_UNSUBSCRIBE, TO("agent.a.replies") }, ERROR_REPLY_TOPIC_MANAGED, "" },
                { { .kind = EFFECT_CHECKPOINT }, ERROR_STATE_ERROR, "nothing to keep" },
                { { .kind = EFFECT_REPLY, .message_id = 12345 }, ERROR_INVALID_MESSAGE, "12345" },
        };

        (void)state;

        memset(large, 'x', sizeof(large));
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                World w;

                begin_wishing(&w);
                want(rows[i].effect);
                wanted[0].token = i + 1;
                wanted[0].wants_answer = true;
                prompt(&w);
                assert_answer(i + 1, rows[i].code, rows[i].text);
                assert_int_equal(count_got(MESSAGE_ANSWER), 1);
                assert_string_equal(last_got(MESSAGE_ANSWER)->thread, "t1");
                assert_int_equal(w.runtime->counters.effects_refused, 1);
                assert_int_equal(asks_size(&w.runtime->asks), 0);
                assert_int_equal(w.n_sent, 1); /* the output of the message itself */
                end_world(&w);
        }
}

static void what_is_allowed_to_a_trusted_fleet_may_go_anywhere(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.allow_forbidden_topics = true;
        begin_wishing_with(&w, options);
        WANT(.kind = EFFECT_PUBLISH, TO("compozy.commands.x"), WITH("1"));
        prompt(&w);
        assert_int_equal(count_sent(&w, "compozy.commands.x", "1"), 1);
        end_world(&w);
}

static void a_message_and_its_headers_fit_the_server_or_are_refused(void **state) {
        static char payload[3000];
        World w;

        (void)state;

        begin_wishing(&w);
        memset(payload, 'x', sizeof(payload));
        runtime_on_link_up(w.runtime, 3100, w.now);
        WANT(.kind = EFFECT_PUBLISH, TO("out"), .payload = { payload, 2900 });
        prompt(&w);
        assert_int_equal(count_sent(&w, "out", NULL), 1);
        WANT(.kind = EFFECT_PUBLISH, TO("out"), .payload = { payload, 3000 }, .wants_answer = true);
        prompt(&w);
        assert_int_equal(count_sent(&w, "out", NULL), 1);
        assert_answer(0, ERROR_LIMIT_EXCEEDED, "server's limit of 3100");
        end_world(&w);
}

static void without_a_connection_whoever_wants_something_said_is_told(void **state) {
        static const EffectKind kinds[] = { EFFECT_PUBLISH, EFFECT_ASK, EFFECT_INVOKE, EFFECT_TRIGGER };
        World w;

        (void)state;

        begin_wishing(&w);
        runtime_on_link_down(w.runtime, w.now);
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                WANT(.kind = kinds[i], TO("b"), .token = i, .wants_answer = true);
                prompt(&w);
                assert_answer(i, ERROR_OVERLOADED, "no connection");
        }
        assert_int_equal(asks_size(&w.runtime->asks), 0);
        end_world(&w);
}

/* asking */

static void a_question_is_answered_once_with_its_token_and_its_thread(void **state) {
        char reply[64];
        const Sent *sent;
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_ASK, TO("b"), WITH("how much?"), .token = 5);
        prompt(&w);
        sent = last_sent(&w, "agent.b.replies");
        assert_string_equal(sent->body, "how much?");
        assert_header(sent, "Compozy-Thread-Id", "t1");
        assert_header(sent, "Compozy-Reply-To", sent->reply);
        (void)snprintf(reply, sizeof(reply), "%s", sent->reply);

        say(&w, reply, NULL, "42");
        assert_answer(5, ERROR_NONE, "42");
        assert_string_equal(last_got(MESSAGE_ANSWER)->thread, "t1");
        assert_int_equal(last_got(MESSAGE_ANSWER)->ttl, 8);
        say(&w, reply, NULL, "43");
        say(&w, "_INBOX.r1.a.777", NULL, "44");
        say(&w, "_INBOX.r1.a.", NULL, "45");
        say(&w, "_INBOX.r1.i.1", NULL, "46");
        assert_int_equal(count_got(MESSAGE_ANSWER), 1);
        assert_int_equal(asks_size(&w.runtime->asks), 0);
        end_world(&w);
}

static void an_agents_error_comes_with_its_code_and_its_sentence(void **state) {
        static const struct {
                const char *headers, *body;
                ErrorCode code;
                const char *text;
        } rows[] = {
                { "Nats-Service-Error: full\r\nNats-Service-Error-Code: 429\r\n",
                        "{\"ok\":false,\"error\":{\"code\":\"MAILBOX_FULL\",\"message\":\"no room\"}}",
                        ERROR_MAILBOX_FULL, "no room" },
                { "Nats-Service-Error: a stranger's\r\n", "anything", ERROR_CAPABILITY_ERROR, "a stranger's" },
                { "Nats-Service-Error: odd\r\n", "{\"ok\":false,\"error\":{\"code\":\"ODD\"}}", ERROR_CAPABILITY_ERROR,
                        "odd" },
                { NULL, "{\"ok\":false,\"error\":{\"code\":\"MAILBOX_FULL\"}}", ERROR_NONE, "MAILBOX_FULL" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                World w;

                begin_wishing(&w);
                WANT(.kind = EFFECT_ASK, TO("b"), .token = 5);
                prompt(&w);
                say_with(&w, last_sent(&w, "agent.b.replies")->reply, rows[i].headers, rows[i].body);
                assert_answer(5, rows[i].code, rows[i].text);
                end_world(&w);
        }
}

static void whom_nobody_hears_is_told_at_once(void **state) {
        static const struct {
                EffectKind kind;
                const char *subject;
                ErrorCode code;
        } rows[] = {
                { EFFECT_ASK, "agent.b.replies", ERROR_AGENT_NOT_FOUND },
                { EFFECT_INVOKE, "action.b", ERROR_CAPABILITY_NOT_FOUND },
                { EFFECT_TRIGGER, PREFIX ".commands.agent.adhoc.trigger.b", ERROR_NO_RUNTIME },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                World w;

                begin_wishing(&w);
                WANT(.kind = rows[i].kind, TO("b"), .token = 6);
                prompt(&w);
                say_nobody(&w, last_sent(&w, rows[i].subject)->reply);
                assert_answer(6, rows[i].code, "b");
                assert_int_equal(asks_size(&w.runtime->asks), 0);
                assert_string_equal(state_of(&w, "a"), "running");
                end_world(&w);
        }
}

static void a_time_out_comes_when_its_time_is_over_and_not_before(void **state) {
        static const struct {
                uint64_t usec, expected_usec;
                const char *text;
        } rows[] = { { 0, 30 * USEC_PER_SEC, "30000 ms" }, { 1500000, 1500000, "1500 ms" },
                { UINT64_MAX, (uint64_t)DEADLINE_MS_MAX * USEC_PER_MSEC, "86400000 ms" } };
        static const EffectKind kinds[] = { EFFECT_ASK, EFFECT_INVOKE, EFFECT_TRIGGER };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(rows) * ELEMENTSOF(kinds); i++) {
                const size_t row = i % ELEMENTSOF(rows);
                World w;

                begin_wishing(&w);
                WANT(.kind = kinds[i / ELEMENTSOF(rows)], TO("b"), .usec = rows[row].usec, .token = 3);
                prompt(&w);
                if (rows[row].expected_usec > 60 * USEC_PER_SEC) { /* a day of heartbeats is another test */
                        w.now.usec += rows[row].expected_usec - 60 * USEC_PER_SEC;
                        pass(&w, 60 * USEC_PER_SEC - 1);
                } else {
                        pass(&w, rows[row].expected_usec - 1);
                }
                assert_int_equal(count_got(MESSAGE_ANSWER), 0);
                pass(&w, 1);
                assert_answer(3, ERROR_TIMEOUT, rows[row].text);
                assert_int_equal(asks_size(&w.runtime->asks), 0);
                end_world(&w);
        }
}

static void an_answer_passes_a_full_mailbox_and_waits_for_a_paused_agent(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        create(&w, "{\"agent_id\":\"small\",\"agent_type\":\"wisher\",\"subscribed_topics\":[\"few\"],"
                   "\"mailbox_capacity\":1}");
        turn(&w);
        WANT(.kind = EFFECT_ASK, TO("b"), .token = 1);
        publish(&w, "few", "go");
        (void)ask_about(&w, "pause_agent", "small");
        publish(&w, "few", "kept");
        publish(&w, "few", "too much");
        say(&w, last_sent(&w, "agent.b.replies")->reply, NULL, "42");
        assert_int_equal(count_got(MESSAGE_ANSWER), 0);
        assert_int_equal(agent_of(&w, "small")->n_shed, 1);

        (void)ask_about(&w, "resume_agent", "small");
        assert_answer(1, ERROR_NONE, "42");
        assert_int_equal(got[1].kind, MESSAGE_ANSWER); /* before what came earlier */
        assert_string_equal(got[2].input, "kept");
        end_world(&w);
}

static uint64_t asker_id;

static void reply_with_the_answer(const BehaviorMessage *message, BehaviorReply *reply) {
        add(reply, &(Effect){ .kind = EFFECT_REPLY, .message_id = asker_id, .payload = message->input });
}

static void an_agent_may_ask_itself_while_its_only_message_is_pending(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        on_answer = reply_with_the_answer;
        WANT(.kind = EFFECT_ASK, TO("a"), WITH("who am I?"));
        verdict = BEHAVIOR_PENDING;
        publish_with(&w, "in", "_INBOX.caller", NULL, "go");
        asker_id = got[0].id;
        publish(&w, "in", "later");
        assert_int_equal(n_got, 1);
        pass_on(&w, "agent.a.replies");
        assert_int_equal(n_got, 2);
        assert_string_equal(got[1].input, "who am I?");
        say(&w, last_sent(&w, "agent.a.replies")->reply, NULL,
                last_sent(&w, last_sent(&w, "agent.a.replies")->reply)->body);
        assert_string_equal(last_sent(&w, "_INBOX.caller")->body, "\"done\"");
        assert_string_equal(got[n_got - 1].input, "later");
        end_world(&w);
}

static void a_question_that_only_says_it_is_ones_own_waits_like_any(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        verdict = BEHAVIOR_PENDING;
        prompt(&w);
        publish_with(&w, "agent.a.replies", "_INBOX.r1.a.4711", "Compozy-Sender: agent.a\r\n", "let me in");
        assert_int_equal(n_got, 1);
        end_world(&w);
}

/* capabilities */

static void the_same_call_goes_out_once_and_its_answer_is_for_all_and_kept(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        for (unsigned i = 1; i <= 3; i++)
                WANT(.kind = EFFECT_INVOKE, TO("db.query"), WITH("{}"), .key = SLICE("k"), .token = i);
        prompt(&w);
        assert_int_equal(count_sent(&w, "action.db.query", NULL), 1);
        assert_header(last_sent(&w, "action.db.query"), "Compozy-Idempotency-Key", "k");
        assert_header(last_sent(&w, "action.db.query"), "Nats-Msg-Id", NULL);
        say(&w, last_sent(&w, "action.db.query")->reply, NULL, "{\"rows\":1}");
        assert_int_equal(count_got(MESSAGE_ANSWER), 3);
        for (unsigned i = 1; i <= 3; i++)
                assert_int_equal(got[i].token, i);
        assert_answer(3, ERROR_NONE, "{\"rows\":1}");

        WANT(.kind = EFFECT_INVOKE, TO("db.query"), .key = SLICE("k"), .token = 4);
        prompt(&w);
        assert_int_equal(count_sent(&w, "action.db.query", NULL), 1);
        assert_answer(4, ERROR_NONE, "{\"rows\":1}");

        pass(&w, 121 * USEC_PER_SEC); /* and forgotten */
        WANT(.kind = EFFECT_INVOKE, TO("db.query"), .key = SLICE("k"), .token = 5);
        prompt(&w);
        assert_int_equal(count_sent(&w, "action.db.query", NULL), 2);
        end_world(&w);
}

static void a_failed_call_ends_no_agent_and_what_may_pass_is_asked_again(void **state) {
        static const struct {
                const char *headers;
                ErrorCode code;
                bool is_kept;
        } rows[] = {
                { "Nats-Service-Error: bad input\r\nNats-Service-Error-Code: 400\r\n", ERROR_CAPABILITY_ERROR, true },
                { "Nats-Service-Error: bad day\r\nNats-Service-Error-Code: 500\r\n", ERROR_CAPABILITY_ERROR, false },
                { "Nats-Service-Error: bad\r\n", ERROR_CAPABILITY_ERROR, false },
                { NULL, ERROR_TIMEOUT, false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                World w;

                begin_wishing(&w);
                WANT(.kind = EFFECT_INVOKE, TO("x"), .key = SLICE("k"), .usec = USEC_PER_SEC);
                prompt(&w);
                if (rows[i].headers)
                        say_with(&w, last_sent(&w, "action.x")->reply, rows[i].headers, "");
                else
                        pass(&w, USEC_PER_SEC);
                assert_answer(0, rows[i].code, rows[i].headers ? "bad" : "1000 ms");
                assert_string_equal(state_of(&w, "a"), "running");
                WANT(.kind = EFFECT_INVOKE, TO("x"), .key = SLICE("k"), .usec = USEC_PER_SEC);
                prompt(&w);
                assert_int_equal(count_sent(&w, "action.x", NULL), rows[i].is_kept ? 1 : 2);
                end_world(&w);
        }
}

static void two_agents_with_the_same_key_make_two_calls(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        create(&w, "{\"agent_id\":\"b\",\"agent_type\":\"wisher\",\"subscribed_topics\":[\"in.b\"]}");
        turn(&w);
        WANT(.kind = EFFECT_INVOKE, TO("x"), .key = SLICE("k"));
        prompt(&w);
        WANT(.kind = EFFECT_INVOKE, TO("x"), .key = SLICE("k"));
        publish(&w, "in.b", "go");
        assert_int_equal(count_sent(&w, "action.x", NULL), 2);
        end_world(&w);
}

static void note_key(const World *world, char key[128]) {
        (void)snprintf(key, 128, "%.*s",
                SLICE_ARG(headers_get(
                        slice_of(last_sent(world, "action.x")->headers), SLICE("Compozy-Idempotency-Key"))));
}

static void without_a_key_an_execution_numbers_its_calls_and_a_message_is_unlike_any_other(void **state) {
        char key[128], other[128];
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_PUBLISH, TO("out"));
        WANT(.kind = EFFECT_INVOKE, TO("x"));
        WANT(.kind = EFFECT_INVOKE, TO("x"));
        verdict = BEHAVIOR_DEFER;
        relay(&w, .agent = "a", .exec = "e1");
        assert_int_equal(count_sent(&w, "action.x", NULL), 2);
        note_key(&w, key);
        assert_string_equal(key, "e1.1");
        WANT(.kind = EFFECT_INVOKE, TO("x")); /* the same execution goes on */
        pass(&w, USEC_PER_SEC);
        note_key(&w, key);
        assert_string_equal(key, "e1.2");

        WANT(.kind = EFFECT_INVOKE, TO("x"));
        prompt(&w);
        note_key(&w, key);
        assert_true(strncmp(key, "r1.1000.", 8) == 0);
        WANT(.kind = EFFECT_INVOKE, TO("x"));
        prompt(&w);
        note_key(&w, other);
        assert_string_not_equal(key, other);
        end_world(&w);
}

static void a_list_of_capabilities_is_all_that_may_be_called(void **state) {
        static const struct {
                const char *list, *capability;
                bool is_allowed;
        } rows[] = {
                { "", "anything.at.all", true },
                { ",\"capabilities\":[]", "x", false },
                { ",\"capabilities\":[\"x\",\"db.*\"]", "x", true },
                { ",\"capabilities\":[\"x\",\"db.*\"]", "db.query", true },
                { ",\"capabilities\":[\"x\",\"db.*\"]", "db", false },
                { ",\"capabilities\":[\"x\",\"db.*\"]", "y", false },
                { ",\"capabilities\":[\"no subject\"]", "y", false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char text[256];
                World w;

                begin_wishing(&w);
                (void)snprintf(text, sizeof(text),
                        "{\"agent_id\":\"b\",\"agent_type\":\"wisher\",\"subscribed_topics\":[\"in.b\"]%s}",
                        rows[i].list);
                create(&w, text);
                turn(&w);
                WANT(.kind = EFFECT_INVOKE, .target = slice_of(rows[i].capability));
                publish(&w, "in.b", "go");
                assert_int_equal(asks_size(&w.runtime->asks), rows[i].is_allowed);
                if (!rows[i].is_allowed)
                        assert_answer(0, ERROR_CAPABILITY_NOT_FOUND, "definition of agent \"b\"");
                end_world(&w);
        }
}

/* triggering */

static void a_trigger_stays_in_its_workflow_and_brings_the_output_or_the_error(void **state) {
        const Sent *sent;
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_TRIGGER, TO("b"), WITH("{\"n\":1}"), .usec = 10 * USEC_PER_SEC, .token = 1);
        WANT(.kind = EFFECT_TRIGGER, TO("c"), .token = 2);
        relay(&w, .agent = "a", .exec = "e1");
        sent = last_sent(&w, PREFIX ".commands.agent.w1.trigger.b");
        assert_non_null(strstr(sent->body, "\"correlation_id\":\"c1\""));
        assert_non_null(strstr(sent->body, "\"workflow\":{\"id\":\"w1\",\"exec_id\":\"we1\"}"));
        assert_non_null(strstr(sent->body, "\"payload\":{\"deadline_ms\":9950,\"context\":{\"input\":{\"n\":1}}}"));
        assert_header(sent, "Compozy-Ttl", "16");
        say(&w, sent->reply, NULL,
                "{\"metadata\":{\"type\":\"AgentExecutionResult\"},\"agent\":{\"id\":\"b\",\"exec_id\":\"e2\"},"
                "\"payload\":{\"status\":\"SUCCESS\",\"result\":{\"output\":[1, 2]}}}");
        assert_answer(1, ERROR_NONE, "[1, 2]");

        sent = last_sent(&w, PREFIX ".commands.agent.w1.trigger.c");
        assert_non_null(strstr(sent->body, "\"input\":null"));
        say_with(&w, sent->reply, "Nats-Service-Error: no\r\n",
                "{\"metadata\":{\"type\":\"AgentExecutionResult\"},\"agent\":{\"id\":\"c\",\"exec_id\":\"e3\"},"
                "\"payload\":{\"status\":\"FAILURE\",\"result\":{\"error\":{\"code\":\"AGENT_"
                "UNKNOWN\","
                "\"message\":\"nobody\"}}}}");
        assert_answer(2, ERROR_AGENT_UNKNOWN, "nobody");
        end_world(&w);
}

static void what_is_no_result_is_an_error(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_TRIGGER, TO("b"));
        prompt(&w);
        say(&w, last_sent(&w, PREFIX ".commands.agent.adhoc.trigger.b")->reply, NULL, "what?");
        assert_answer(0, ERROR_INTERNAL, "no result");
        end_world(&w);
}

static void relay_with_headers(World *world, const char *exec, const char *headers) {
        char body[256];

        (void)snprintf(body, sizeof(body), "{\"agent\":{\"id\":\"a\",\"exec_id\":\"%s\"}}", exec);
        {
                InMessage message = { .subject = SLICE(TRIGGER),
                        .reply = SLICE("_INBOX.caller"),
                        .headers = slice_of(headers),
                        .body = slice_of(body) };

                runtime_on_message(world->runtime, &message, world->now);
                turn(world);
        }
}

static void agents_that_trigger_one_another_come_to_an_end(void **state) {
        const Sent *sent;
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_TRIGGER, TO("a"));
        relay_with_headers(&w, "e1", "Compozy-Ttl: 5\r\nCompozy-Hop: 11\r\nCompozy-Thread-Id: t7\r\n");
        sent = last_sent(&w, PREFIX ".commands.agent.adhoc.trigger.a");
        assert_header(sent, "Compozy-Ttl", "4");
        assert_header(sent, "Compozy-Hop", "12");
        assert_header(sent, "Compozy-Thread-Id", "t7");

        relay_with_headers(&w, "e2", "Compozy-Ttl: 1\r\n");
        assert_string_equal(result_text(last_sent(&w, "_INBOX.caller")), "FAILURE INVALID_MESSAGE");
        assert_non_null(strstr(last_sent(&w, "_INBOX.caller")->body, "Compozy-Ttl"));
        assert_int_equal(count_got(MESSAGE_TRIGGER), 1);
        end_world(&w);
}

/* topics, timers */

static void what_an_agent_subscribes_to_is_there_when_it_is_answered(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_SUBSCRIBE, TO("news"), .token = 1, .wants_answer = true);
        prompt(&w);
        assert_answer(1, ERROR_NONE, "");
        assert_true(is_subscribed(&w, "news"));
        publish(&w, "news", "extra");
        assert_string_equal(last_got(MESSAGE_TOPIC)->input, "extra");
        WANT(.kind = EFFECT_UNSUBSCRIBE, TO("news"), .token = 2, .wants_answer = true);
        prompt(&w);
        assert_answer(2, ERROR_NONE, "");
        assert_false(is_subscribed(&w, "news"));
        end_world(&w);
}

static void a_timer_fires_once_at_its_time_and_goes_on_with_the_conversation(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_TIMER, .token = 8, .usec = USEC_PER_SEC);
        prompt(&w);
        pass(&w, USEC_PER_SEC - 1);
        assert_null(last_got(MESSAGE_TIMER));
        pass(&w, 1);
        assert_int_equal(last_got(MESSAGE_TIMER)->token, 8);
        assert_string_equal(last_got(MESSAGE_TIMER)->thread, "t1");
        assert_int_equal(last_got(MESSAGE_TIMER)->ttl, 8);
        pass(&w, 10 * USEC_PER_SEC);
        assert_int_equal(count_got(MESSAGE_TIMER), 1);
        end_world(&w);
}

static void a_timer_of_the_same_token_is_set_anew_and_one_that_is_cancelled_never_fires(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_TIMER, .token = 1, .usec = USEC_PER_SEC);
        WANT(.kind = EFFECT_TIMER, .token = 2, .usec = USEC_PER_SEC);
        WANT(.kind = EFFECT_TIMER, .token = 1, .usec = 3 * USEC_PER_SEC);
        WANT(.kind = EFFECT_CANCEL_TIMER, .token = 2);
        WANT(.kind = EFFECT_CANCEL_TIMER, .token = 99);
        prompt(&w);
        pass(&w, 3 * USEC_PER_SEC - 1);
        assert_int_equal(count_got(MESSAGE_TIMER), 0);
        pass(&w, 1);
        assert_int_equal(count_got(MESSAGE_TIMER), 1);
        assert_int_equal(w.runtime->counters.effects_refused, 0);
        end_world(&w);
}

static void a_timer_waits_for_a_paused_agent_and_ends_with_a_stop(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_TIMER, .token = 1, .usec = USEC_PER_SEC);
        WANT(.kind = EFFECT_TIMER, .token = 2, .usec = 5 * USEC_PER_SEC);
        prompt(&w);
        (void)ask_about(&w, "pause_agent", "a");
        pass(&w, 2 * USEC_PER_SEC);
        assert_int_equal(count_got(MESSAGE_TIMER), 0);
        (void)ask_about(&w, "resume_agent", "a");
        assert_int_equal(count_got(MESSAGE_TIMER), 1);

        (void)ask_about(&w, "stop_agent", "a");
        assert_string_equal(state_of(&w, "a"), "stopped");
        assert_null(agent_of(&w, "a")->timers);
        (void)ask_about(&w, "start_agent", "a");
        pass(&w, 10 * USEC_PER_SEC);
        assert_int_equal(count_got(MESSAGE_TIMER), 1);
        end_world(&w);
}

static void an_agent_that_lives_by_timers_can_be_stopped(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.has_store = true;
        begin_wishing_with(&w, options);
        create(&w, "{\"agent_id\":\"k\",\"agent_type\":\"keeper\",\"subscribed_topics\":[\"in.k\"]}");
        turn(&w);
        w.plays_store = false;
        WANT(.kind = EFFECT_TIMER, .token = 1, .usec = 0);
        publish(&w, "in.k", "go");
        (void)ask_about(&w, "stop_agent", "k"); /* its last checkpoint is with the store */
        for (unsigned i = 0; i < 5; i++) {
                WANT(.kind = EFFECT_TIMER, .token = 1, .usec = 0);
                pass(&w, USEC_PER_MSEC);
        }
        while (w.n_requests > 0) {
                carry_out(&w);
                turn(&w);
        }
        assert_string_equal(state_of(&w, "k"), "stopped");
        end_world(&w);
}

/* limits */

static void what_one_agent_waits_for_is_bounded(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.max_asks_per_agent = 2;
        options.max_timers_per_agent = 2;
        begin_wishing_with(&w, options);
        for (unsigned i = 1; i <= 3; i++) {
                WANT(.kind = EFFECT_ASK, TO("b"), .token = i);
                WANT(.kind = EFFECT_TIMER, .token = i, .usec = USEC_PER_SEC, .wants_answer = true);
        }
        prompt(&w);
        assert_int_equal(asks_size(&w.runtime->asks), 2);
        assert_int_equal(w.runtime->counters.effects_refused, 2);
        assert_answer(3, ERROR_LIMIT_EXCEEDED, "max_timers_per_agent of 2");
        pass(&w, USEC_PER_SEC);
        assert_int_equal(count_got(MESSAGE_TIMER), 2);
        end_world(&w);
}

static void an_answer_that_max_mail_bytes_has_no_room_for_is_OVERLOADED(void **state) {
        RuntimeOptions options = default_options();
        char large[8192], first[128], second[128];
        World w;

        (void)state;

        (void)memset(large, 'x', sizeof(large) - 1);
        large[sizeof(large) - 1] = '\0';
        options.max_mail_bytes = 4096;
        begin_wishing_with(&w, options);
        WANT(.kind = EFFECT_ASK, TO("b"), .token = 1);
        prompt(&w);
        (void)snprintf(first, sizeof(first), "%s", last_sent(&w, "agent.b.replies")->reply);
        WANT(.kind = EFFECT_ASK, TO("b"), .token = 2);
        prompt(&w);
        (void)snprintf(second, sizeof(second), "%s", last_sent(&w, "agent.b.replies")->reply);
        (void)ask_about(&w, "pause_agent", "a");
        say(&w, first, NULL, large);
        say(&w, second, NULL, large);
        (void)ask_about(&w, "resume_agent", "a");
        assert_int_equal(count_got(MESSAGE_ANSWER), 2);
        assert_answer(2, ERROR_OVERLOADED, "max_mail_bytes");
        end_world(&w);
}

static void a_list_that_is_incomplete_is_carried_out_as_far_as_it_goes_and_counted(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        is_list_failed = true;
        WANT(.kind = EFFECT_PUBLISH, TO("out"));
        prompt(&w);
        assert_int_equal(count_sent(&w, "out", NULL), 1);
        assert_int_equal(w.runtime->counters.effects_refused, 1);
        end_world(&w);
}

/* its own life */

static void a_reply_ends_what_was_left_pending_after_all_else_was_done(void **state) {
        EffectList list = {};
        Effect *effect;
        World w;

        (void)state;

        begin_wishing(&w);
        verdict = BEHAVIOR_PENDING;
        relay(&w, .agent = "a", .exec = "e1");
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);
        effect = effects_add(&list, EFFECT_REPLY);
        effect->message_id = got[0].id;
        effect->payload = SLICE("{\"late\":true}");
        effect->wants_answer = true;
        effect = effects_add(&list, EFFECT_PUBLISH);
        effect->target = SLICE("out");
        runtime_on_effects(w.runtime, agent_of(&w, "a"), got[0].id, &list, w.now);
        effects_clear(&list);
        turn(&w);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.caller")), "SUCCESS");
        assert_header(last_sent(&w, "out"), "Compozy-Correlation-Id", "c1");
        assert_answer(0, ERROR_NONE, "");
        end_world(&w);
}

static void a_checkpoint_is_answered_when_it_is_durable_or_has_failed(void **state) {
        RuntimeOptions options = default_options();

        (void)state;

        options.has_store = true;
        for (unsigned fails = 0; fails < 2; fails++) {
                World w;

                begin_wishing_with(&w, options);
                create(&w, "{\"agent_id\":\"k\",\"agent_type\":\"keeper\",\"subscribed_topics\":[\"in.k\"]}");
                turn(&w);
                w.plays_store = false;
                w.save_outcome = fails ? STORE_UNWRITABLE : STORE_DONE;
                WANT(.kind = EFFECT_CHECKPOINT, .token = 4, .wants_answer = true);
                publish(&w, "in.k", "go");
                assert_int_equal(count_got(MESSAGE_ANSWER), 0);
                assert_int_equal(w.n_requests, 1);
                carry_out(&w);
                turn(&w);
                assert_answer(4, fails ? ERROR_STATE_ERROR : ERROR_NONE, fails ? "the store says no" : "");
                w.save_outcome = STORE_DONE;
                w.plays_store = true;
                turn(&w);
                end_world(&w);
        }
}

static void an_agent_that_stops_itself_handles_what_it_holds(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        (void)ask_about(&w, "pause_agent", "a");
        publish(&w, "in", "one");
        publish(&w, "in", "two");
        WANT(.kind = EFFECT_STOP);
        (void)ask_about(&w, "resume_agent", "a");
        assert_int_equal(count_got(MESSAGE_TOPIC), 2);
        assert_string_equal(state_of(&w, "a"), "stopped");
        end_world(&w);
}

static void who_stops_waits_for_nothing_any_more(void **state) {
        char reply[64];
        World w;

        (void)state;

        begin_wishing(&w);
        WANT(.kind = EFFECT_ASK, TO("b"));
        WANT(.kind = EFFECT_INVOKE, TO("x"));
        WANT(.kind = EFFECT_TRIGGER, TO("b"));
        prompt(&w);
        (void)snprintf(reply, sizeof(reply), "%s", last_sent(&w, "agent.b.replies")->reply);
        assert_int_equal(asks_size(&w.runtime->asks), 3);
        (void)ask_about(&w, "stop_agent", "a");
        assert_int_equal(asks_size(&w.runtime->asks), 0);
        say(&w, reply, NULL, "late");
        assert_int_equal(count_got(MESSAGE_ANSWER), 0);
        end_world(&w);
}

static void a_pending_message_is_waited_for_while_its_agent_stops(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        on_answer = reply_with_the_answer;
        WANT(.kind = EFFECT_ASK, TO("b"));
        verdict = BEHAVIOR_PENDING;
        relay(&w, .agent = "a", .exec = "e1");
        asker_id = got[0].id;
        (void)ask_about(&w, "stop_agent", "a");
        assert_string_equal(state_of(&w, "a"), "stopping");
        say(&w, last_sent(&w, "agent.b.replies")->reply, NULL, "42");
        assert_non_null(strstr(last_sent(&w, "_INBOX.caller")->body, "\"output\":42"));
        assert_string_equal(state_of(&w, "a"), "stopped");
        end_world(&w);
}

static void what_an_execution_wanted_is_done_though_its_time_is_over(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        w.plays_worker = false;
        WANT(.kind = EFFECT_PUBLISH, TO("out"), WITH("still"));
        relay(&w, .agent = "a", .exec = "e1", .deadline_ms = 100);
        pass(&w, 200 * USEC_PER_MSEC);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.caller")), "FAILURE DEADLINE_EXCEEDED");
        w.plays_worker = true;
        turn(&w);
        assert_int_equal(count_sent(&w, "out", "still"), n_got);
        end_world(&w);
}

/* the log */

static char logged[512];
static int logged_level;

static void on_log(int level, const char *message_id, LogFields fields, const char *text, void *userdata) {
        (void)message_id;
        (void)userdata;
        if (!strstr(text, "says"))
                return;
        logged_level = level;
        (void)snprintf(logged, sizeof(logged), "%.*s: %s", SLICE_ARG(fields.speaker), text);
        for (size_t i = 0; i < fields.n_items; i++)
                if (fields.items[i].text.size > 0)
                        (void)snprintf(logged + strlen(logged), sizeof(logged) - strlen(logged), " %s=%.*s",
                                fields.items[i].name, SLICE_ARG(fields.items[i].text));
}

static void an_agent_logs_under_its_name_and_no_graver_than_an_error(void **state) {
        static const struct {
                int level, expected;
        } rows[] = { { LOG_EMERG, LOG_ERR }, { -7, LOG_ERR }, { LOG_ERR, LOG_ERR }, { LOG_INFO, LOG_INFO } };
        World w;

        (void)state;

        begin_wishing(&w);
        log_set_sink(on_log, NULL);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                WANT(.kind = EFFECT_LOG, .level = rows[i].level, WITH("says hello"),
                        .headers = SLICE("{\"AGENT_ID\":\"b\"}"));
                prompt(&w);
                assert_int_equal(logged_level, rows[i].expected);
                assert_string_equal(logged, "agent.a: says hello AGENT_ID=a CORRELATION_ID=t1 FIELDS={\"AGENT_ID\":\"b\"}");
        }
        log_set_sink(NULL, NULL);
        end_world(&w);
}

static void agents_cannot_flood_the_log(void **state) {
        static unsigned long n_lines;
        World w;

        (void)state;

        begin_wishing(&w);
        log_set_sink(on_log, NULL);
        n_lines = 0;
        for (unsigned i = 0; i < 1500; i++) {
                char text[32];

                logged[0] = '\0';
                (void)snprintf(text, sizeof(text), "says %u", i);
                n_got = 0;
                want((Effect){ .kind = EFFECT_LOG, .level = LOG_ERR, .payload = slice_of(text) });
                prompt(&w);
                n_lines += logged[0] != '\0';
        }
        log_set_sink(NULL, NULL);
        assert_int_equal(n_lines, 100);
        end_world(&w);
}

static void one_agents_chatter_silences_no_other(void **state) {
        LogLimit a = {}, b = {};
        AgentWords words = { .agent_id = SLICE("a"), .sentence = SLICE("says much"), .level = LOG_INFO };

        (void)state;

        log_set_sink(on_log, NULL);
        log_tick(100 * USEC_PER_SEC);
        for (unsigned i = 0; i < 5000; i++)
                diag_agent_says(&words, &a);
        logged[0] = '\0';
        words.agent_id = SLICE("b");
        words.sentence = SLICE("says little");
        diag_agent_says(&words, &b);
        assert_non_null(strstr(logged, "agent.b: says little"));
        log_limit_done(&a);
        log_set_sink(NULL, NULL);
}

/* child processes */

static void effects_of(World *world, const char *agent, uint64_t message_id, Effect draft) {
        EffectList list = {};
        Effect *effect = effects_add(&list, draft.kind);

        *effect = draft;
        runtime_on_effects(world->runtime, agent_of(world, agent), message_id, &list, world->now);
        effects_clear(&list);
        turn(world);
}

static void a_timer_that_has_fired_counts_towards_the_limit_until_it_is_handled(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.max_timers_per_agent = 2;
        begin_wishing_with(&w, options);
        w.plays_host = true;
        create(&w, "{\"agent_id\":\"r\",\"agent_type\":\"remote\"}");
        turn(&w);
        (void)ask_about(&w, "pause_agent", "r");
        for (unsigned i = 0; i < 5; i++) {
                effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_TIMER, .token = 1 });
                pass(&w, USEC_PER_MSEC);
        }
        assert_int_equal(agent_n_queued(agent_of(&w, "r")), 2);
        assert_int_equal(w.runtime->counters.effects_refused, 3);

        (void)ask_about(&w, "resume_agent", "r");
        turn(&w);
        assert_int_equal(agent_n_queued(agent_of(&w, "r")), 0);
        effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_TIMER, .token = 1 });
        assert_int_equal(w.runtime->counters.effects_refused, 3);
        end_world(&w);
}

static void what_a_child_process_wants_belongs_to_the_message_that_it_names(void **state) {
        char key[128];
        uint64_t id;
        World w;

        (void)state;

        begin_wishing(&w);
        w.plays_host = true;
        create(&w, "{\"agent_id\":\"r\",\"agent_type\":\"remote\"}");
        turn(&w);
        w.plays_host = false;
        relay(&w, .agent = "r", .exec = "e1");
        assert_int_equal(w.n_calls, 1);
        id = execution_of_mail(w.calls[0])->message_id;
        effects_of(&w, "r", id, (Effect){ .kind = EFFECT_PUBLISH, TO("out") });
        assert_header(last_sent(&w, "out"), "Compozy-Correlation-Id", "c1");
        effects_of(&w, "r", id, (Effect){ .kind = EFFECT_INVOKE, TO("x") });
        effects_of(&w, "r", id, (Effect){ .kind = EFFECT_INVOKE, TO("x") });
        note_key(&w, key);
        assert_string_equal(key, "e1.1");
        effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_PUBLISH, TO("out") });
        assert_header(last_sent(&w, "out"), "Compozy-Correlation-Id", NULL);
        effects_of(&w, "a", id, (Effect){ .kind = EFFECT_PUBLISH, TO("out") }); /* it is none of a's */
        assert_header(last_sent(&w, "out"), "Compozy-Correlation-Id", NULL);
        w.plays_host = true;
        turn(&w);
        end_world(&w);
}

static void a_restarted_child_gets_no_answers_to_what_the_crashed_one_asked(void **state) {
        char reply[64];
        World w;

        (void)state;

        begin_wishing(&w);
        w.plays_host = true;
        create(&w, "{\"agent_id\":\"r\",\"agent_type\":\"remote\",\"restart\":{\"backoff_ms\":100}}");
        turn(&w);
        w.plays_host = false;
        effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_ASK, TO("b"), .token = 1 });
        (void)snprintf(reply, sizeof(reply), "%s", last_sent(&w, "agent.b.replies")->reply);
        effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_ASK, TO("b"), .token = 2 });
        effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_TIMER, .token = 3, .usec = USEC_PER_SEC });
        (void)ask_about(&w, "pause_agent", "r");
        say(&w, reply, NULL, "42"); /* waits in its mailbox */
        crash(&w, "r");
        turn(&w);
        assert_int_equal(asks_size(&w.runtime->asks), 0);
        w.plays_host = true;
        pass(&w, 40 * USEC_PER_SEC);
        (void)ask_about(&w, "resume_agent", "r");
        assert_string_equal(state_of(&w, "r"), "running");
        assert_string_equal(script.handled, "");
        end_world(&w);
}

static void a_child_that_is_starting_is_answered_when_it_has_started(void **state) {
        World w;

        (void)state;

        begin_wishing(&w);
        create(&w, "{\"agent_id\":\"r\",\"agent_type\":\"remote\"}");
        turn(&w);
        effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_ASK, TO("b"), .token = 1 });
        effects_of(&w, "r", 0, (Effect){ .kind = EFFECT_SUBSCRIBE, TO("early"), .token = 2, .wants_answer = true });
        say(&w, last_sent(&w, "agent.b.replies")->reply, NULL, "42");
        assert_false(is_subscribed(&w, "early")); /* not before its own topics */
        assert_string_equal(script.handled, "");
        w.plays_host = true;
        turn(&w);
        assert_non_null(strstr(script.handled, "42;"));
        end_world(&w);
}

/* memory */

static void want_everything(EffectList *list) {
        static const Effect drafts[] = {
                { .kind = EFFECT_PUBLISH, TO("out"), WITH("1"), .headers = SLICE("X-Mine: 1\r\n") },
                { .kind = EFFECT_ASK, TO("b") },
                { .kind = EFFECT_INVOKE, TO("x") },
                { .kind = EFFECT_INVOKE, TO("x"), .key = SLICE("k") },
                { .kind = EFFECT_INVOKE, TO("x"), .key = SLICE("k") },
                { .kind = EFFECT_TRIGGER, TO("b") },
                { .kind = EFFECT_SUBSCRIBE, TO("news") },
                { .kind = EFFECT_TIMER, .usec = USEC_PER_SEC },
                { .kind = EFFECT_CHECKPOINT },
        };

        for (size_t i = 0; i < ELEMENTSOF(drafts); i++) {
                Effect *effect = effects_add(list, drafts[i].kind), *next = effect->next;

                *effect = drafts[i];
                effect->next = next;
                effect->token = i + 1;
                effect->wants_answer = drafts[i].kind != EFFECT_TIMER;
        }
}

/* One allocation fails while the wishes are carried out, or while the first question is answered. */
static bool survives(size_t n, bool in_answer) {
        static char large[5000]; /* not from the pool */
        InMessage message = { .subject = SLICE("_INBOX.r1.a.none"), .body = { large, sizeof(large) } };
        RuntimeOptions options = default_options();
        EffectList list = {};
        bool has_failed;
        size_t n_told;
        World w;

        options.has_store = true;
        begin_wishing_with(&w, options);
        create(&w, "{\"agent_id\":\"k\",\"agent_type\":\"keeper\"}");
        turn(&w);
        want_everything(&list);
        fail_at = in_answer ? 0 : n;
        runtime_on_effects(w.runtime, agent_of(&w, "k"), 0, &list, w.now);
        has_failed = !in_answer && fail_at == 0;
        fail_at = 0;
        collect(&w);
        if (count_sent(&w, "agent.b.replies", NULL) > 0)
                message.subject = slice_of(last_sent(&w, "agent.b.replies")->reply);
        fail_at = in_answer ? n : 0;
        runtime_on_message(w.runtime, &message, w.now);
        has_failed = has_failed || (in_answer && fail_at == 0);
        fail_at = 0;
        effects_clear(&list);

        pass(&w, 40 * USEC_PER_SEC); /* every question is over by then */
        assert_int_equal(asks_size(&w.runtime->asks), 0);
        assert_null(agent_of(&w, "k")->timers);
        n_told = count_got(MESSAGE_ANSWER) + w.runtime->counters.undelivered[ERROR_INTERNAL];
        assert_int_equal(n_told, 8); /* all but the timer */
        end_world(&w);
        return has_failed;
}

static void whatever_memory_is_out_for_no_wish_is_forgotten(void **state) {
        (void)state;

        if (!FAILING_WORKS)
                skip();
        log_set_level(LOG_CRIT);
        for (size_t n = 1; survives(n, /* in_answer= */ false); n++)
                ;
        for (size_t n = 1; survives(n, /* in_answer= */ true); n++)
                ;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_published_carries_on_the_conversation_of_its_message),
                cmocka_unit_test(an_agent_may_hear_what_it_has_published_itself),
                cmocka_unit_test(every_wish_that_is_refused_is_counted_and_answered_with_its_reason),
                cmocka_unit_test(what_is_allowed_to_a_trusted_fleet_may_go_anywhere),
                cmocka_unit_test(a_message_and_its_headers_fit_the_server_or_are_refused),
                cmocka_unit_test(without_a_connection_whoever_wants_something_said_is_told),
                cmocka_unit_test(a_question_is_answered_once_with_its_token_and_its_thread),
                cmocka_unit_test(an_agents_error_comes_with_its_code_and_its_sentence),
                cmocka_unit_test(whom_nobody_hears_is_told_at_once),
                cmocka_unit_test(a_time_out_comes_when_its_time_is_over_and_not_before),
                cmocka_unit_test(an_answer_passes_a_full_mailbox_and_waits_for_a_paused_agent),
                cmocka_unit_test(an_agent_may_ask_itself_while_its_only_message_is_pending),
                cmocka_unit_test(a_question_that_only_says_it_is_ones_own_waits_like_any),
                cmocka_unit_test(the_same_call_goes_out_once_and_its_answer_is_for_all_and_kept),
                cmocka_unit_test(a_failed_call_ends_no_agent_and_what_may_pass_is_asked_again),
                cmocka_unit_test(two_agents_with_the_same_key_make_two_calls),
                cmocka_unit_test(without_a_key_an_execution_numbers_its_calls_and_a_message_is_unlike_any_other),
                cmocka_unit_test(a_list_of_capabilities_is_all_that_may_be_called),
                cmocka_unit_test(a_trigger_stays_in_its_workflow_and_brings_the_output_or_the_error),
                cmocka_unit_test(what_is_no_result_is_an_error),
                cmocka_unit_test(agents_that_trigger_one_another_come_to_an_end),
                cmocka_unit_test(what_an_agent_subscribes_to_is_there_when_it_is_answered),
                cmocka_unit_test(a_timer_fires_once_at_its_time_and_goes_on_with_the_conversation),
                cmocka_unit_test(a_timer_of_the_same_token_is_set_anew_and_one_that_is_cancelled_never_fires),
                cmocka_unit_test(a_timer_waits_for_a_paused_agent_and_ends_with_a_stop),
                cmocka_unit_test(an_agent_that_lives_by_timers_can_be_stopped),
                cmocka_unit_test(what_one_agent_waits_for_is_bounded),
                cmocka_unit_test(a_timer_that_has_fired_counts_towards_the_limit_until_it_is_handled),
                cmocka_unit_test(an_answer_that_max_mail_bytes_has_no_room_for_is_OVERLOADED),
                cmocka_unit_test(a_list_that_is_incomplete_is_carried_out_as_far_as_it_goes_and_counted),
                cmocka_unit_test(a_reply_ends_what_was_left_pending_after_all_else_was_done),
                cmocka_unit_test(a_checkpoint_is_answered_when_it_is_durable_or_has_failed),
                cmocka_unit_test(an_agent_that_stops_itself_handles_what_it_holds),
                cmocka_unit_test(who_stops_waits_for_nothing_any_more),
                cmocka_unit_test(a_pending_message_is_waited_for_while_its_agent_stops),
                cmocka_unit_test(what_an_execution_wanted_is_done_though_its_time_is_over),
                cmocka_unit_test(an_agent_logs_under_its_name_and_no_graver_than_an_error),
                cmocka_unit_test(agents_cannot_flood_the_log),
                cmocka_unit_test(one_agents_chatter_silences_no_other),
                cmocka_unit_test(what_a_child_process_wants_belongs_to_the_message_that_it_names),
                cmocka_unit_test(a_restarted_child_gets_no_answers_to_what_the_crashed_one_asked),
                cmocka_unit_test(a_child_that_is_starting_is_answered_when_it_has_started),
                cmocka_unit_test(whatever_memory_is_out_for_no_wish_is_forgotten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
