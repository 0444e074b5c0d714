/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "ctl/nats_config.h"

enum { DISPATCHER, R1, R2, ALICE, WEB, BATCH, OLGA, BANK };

static const char *const specs[] = {
        [DISPATCHER] = "main",
        [R1] = "r1:summarizer,helper",
        [R2] = "r2",
        [ALICE] = "alice",
        [WEB] = "web:greeter",
        [BATCH] = "batch",
        [OLGA] = "olga",
        [BANK] = "bank:pay.*",
};

static const Role roles[] = {
        [DISPATCHER] = ROLE_DISPATCHER,
        [R1] = ROLE_RUNTIME,
        [R2] = ROLE_RUNTIME,
        [ALICE] = ROLE_OPERATOR,
        [WEB] = ROLE_CALLER,
        [BATCH] = ROLE_CALLER,
        [OLGA] = ROLE_OBSERVER,
        [BANK] = ROLE_SERVICE,
};

static const char *const topics[] = { "thread.>", "news.*" };

static Principal principals[ELEMENTSOF(specs)];

static const NatsConfig config = {
        .permissions = { .prefix = { "compozy", 7 },
                .principals = principals,
                .n_principals = ELEMENTSOF(specs),
                .topics = topics,
                .n_topics = ELEMENTSOF(topics),
                .has_jetstream = true },
        .directory = "/etc/compozy/nats",
        .listen = "127.0.0.1:4222",
        .url = "nats://127.0.0.1:4222",
        .store_dir = "/var/lib/nats/jetstream",
};

static int set_up(void **state) {
        WireError error;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(specs); i++) {
                assert_int_equal(principal_parse(roles[i], specs[i], &principals[i], &error), 0);
                (void)snprintf(principals[i].public_key, sizeof(principals[i].public_key), "UKEY%zu", i);
        }
        return 0;
}

#define PUB true
#define SUB false

static void each_role_may_do_this_and_not_that(void **state) {
        static const struct {
                unsigned who;
                bool is_publish;
                const char *subject;
                bool is_allowed;
        } table[] = {
                { DISPATCHER, PUB, "compozy.runtime.r1.trigger", true },
                { DISPATCHER, PUB, "compozy.runtime.r1.control.drain", true },
                { DISPATCHER, PUB, "compozy.commands.agent.w.trigger.a", false },
                { DISPATCHER, PUB, "thread.1.reply", false },
                { DISPATCHER, PUB, "$JS.API.STREAM.DELETE.COMPOZY_EVENTS", false },
                { DISPATCHER, SUB, "compozy.results.agent.e1", false },
                { DISPATCHER, SUB, "_INBOX.caller.web.x.1", false },

                { R1, PUB, "compozy.events.agent.definition.r1.registered", true },
                { R1, PUB, "compozy.events.agent.definition.r2.registered", false },
                { R1, PUB, "compozy.events.agent.definition.r2.deregistered", false },
                { R1, PUB, "compozy.commands.agent_dispatcher.register_runtime", false },
                { R1, PUB, "compozy.dispatcher.d1.report.r1", true },
                { R1, PUB, "compozy.dispatcher.d1.report.r2", false },
                { R1, PUB, "_INBOX.dispatcher.d1.u.p.r1", true },
                { R1, PUB, "_INBOX.dispatcher.d1.u.p.r2", false },
                { R1, PUB, "_INBOX.dispatcher.d1.u.r.r1.e1.1.0", true },
                { R1, PUB, "_INBOX.dispatcher.d1.u.r.r2.e1.1.0", false },
                { R1, PUB, "_INBOX.dispatcher.d1.u.e.1", false },
                { R1, PUB, "_INBOX.dispatcher.d1.u.j.events", false },
                { R1, PUB, "_INBOX.runtime.r2.u.a.1", true }, /* an answer to its agent */
                { R1, PUB, "_INBOX.runtime.r2.u.register.1", false },
                { R1, PUB, "compozy.runtime.r2.trigger", false },
                { R1, PUB, "compozy.runtime.r2.control.drain", false },
                { R1, PUB, "compozy.commands.agent_runtime.announce", false },
                { R1, PUB, "compozy.commands.agent.w.trigger.summarizer", true },
                { R1, PUB, "compozy.commands.agent.w.trigger.greeter", false },
                { R2, PUB, "compozy.commands.agent.w.trigger.summarizer", false },
                { R1, PUB, "agent.helper.replies", true },
                { R2, PUB, "agent.helper.replies", false },
                { R1, PUB, "action.pay.invoice", true },
                { R1, PUB, "action.shutdown", false },
                { R1, PUB, "thread.1.reply", true },
                { R1, PUB, "other.1", false },
                { R1, PUB, "$KV.compozy_runtimes.r1", false },
                { R1, SUB, "compozy.runtime.r1.trigger", true },
                { R1, SUB, "compozy.runtime.r2.trigger", false },
                { R1, SUB, "compozy.commands.agent.w.trigger.a", false },
                { R1, SUB, "compozy.events.agent.instance.e1.completed", false },
                { R1, SUB, "_INBOX.runtime.r1.u.a.1", true },
                { R1, SUB, "_INBOX.runtime.r2.u.a.1", false },
                { R1, SUB, "action.pay.invoice", false },

                { WEB, PUB, "compozy.commands.agent.w.trigger.greeter", true },
                { WEB, PUB, "compozy.commands.agent.w.trigger.other", false },
                { WEB, PUB, "agent.greeter.replies", true },
                { WEB, PUB, "agent.other.replies", false },
                { BATCH, PUB, "compozy.commands.agent.w.trigger.other", true },
                { WEB, PUB, "compozy.commands.agent_dispatcher.status", false },
                { WEB, PUB, "compozy.runtime.r1.trigger", false },
                { WEB, PUB, "_INBOX.caller.batch.x.1", false },
                { WEB, PUB, "action.pay.invoice", false },
                { WEB, SUB, "_INBOX.caller.web.x.1", true },
                { WEB, SUB, "_INBOX.caller.batch.x.1", false },
                { WEB, SUB, "compozy.results.caller.web.1", true },
                { WEB, SUB, "compozy.results.caller.batch.1", false },
                { WEB, SUB, "compozy.results.agent.e1", false },
                { WEB, SUB, "compozy.events.agent.instance.e1.completed", false },

                { ALICE, PUB, "compozy.commands.agent_dispatcher.drain_runtime", true },
                { ALICE, PUB, "compozy.dispatcher.d1.control.explain", true },
                { ALICE, PUB, "compozy.runtime.r1.control.create_agent", true },
                { ALICE, PUB, "compozy.runtime.r1.trigger", false },
                { ALICE, PUB, "compozy.events.agent.definition.r1.deregistered", false },
                { ALICE, PUB, "$JS.API.STREAM.DELETE.COMPOZY_EVENTS", false },
                { ALICE, SUB, "compozy.events.agent.instance.e1.completed", true },
                { ALICE, SUB, "compozy.results.agent.e1", false },
                { ALICE, SUB, "_INBOX.caller.web.x.1", false },

                { OLGA, PUB, "compozy.commands.agent_dispatcher.status", false },
                { OLGA, SUB, "compozy.events.agent.instance.e1.completed", true },

                { BANK, SUB, "action.pay.invoice", true },
                { BANK, SUB, "action.shutdown", false },
                { BANK, PUB, "_INBOX.runtime.r1.u.i.1", true },
                { BANK, PUB, "_INBOX.runtime.r1.u.register.1", false },
                { BANK, PUB, "compozy.commands.agent.w.trigger.a", false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (permissions_allow(&config.permissions, &principals[table[i].who], table[i].is_publish,
                            slice_of(table[i].subject)) != table[i].is_allowed)
                        fail_msg("%s %s %s", specs[table[i].who], table[i].is_publish ? "publishes to" : "hears",
                                table[i].subject);
}

static void nobody_but_dispatchers_commands_runtimes_to_work_and_nobody_hears_anothers_inbox(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(specs); i++) {
                const Principal *one = &principals[i];

                assert_int_equal(permissions_allow(&config.permissions, one, PUB, SLICE("compozy.runtime.r1.trigger")),
                        i == DISPATCHER);
                for (size_t j = 0; j < ELEMENTSOF(specs); j++) {
                        char inbox[128];

                        (void)snprintf(inbox, sizeof(inbox), "_INBOX.%s.%s.unique.1", role_names[roles[j]],
                                principals[j].name.text);
                        if (permissions_allow(&config.permissions, one, SUB, slice_of(inbox)) != (i == j))
                                fail_msg("%s hears %s", specs[i], inbox);
                }
        }
}

static void what_is_no_principal_is_refused_and_named(void **state) {
        static const struct {
                Role role;
                const char *spec, *part;
        } table[] = {
                { ROLE_RUNTIME, "", "--runtime : \"\" is no name" },
                { ROLE_RUNTIME, "a.b", "\"a.b\" is no name" },
                { ROLE_RUNTIME, "r1:", "\"\" is no agent's id" },
                { ROLE_RUNTIME, "r1:a,,b", "\"\" is no agent's id" },
                { ROLE_CALLER, "web:a.b", "--caller web:a.b: \"a.b\" is no agent's id" },
                { ROLE_CALLER, "web:>", "\">\" is no agent's id" },
                { ROLE_OPERATOR, "alice:x", "nothing may follow the name" },
                { ROLE_SERVICE, "bank", "which capabilities?" },
                { ROLE_SERVICE, "bank:a b", "\"a b\" is no capability" },
                { ROLE_SERVICE, "bank:a\"b", "is no capability" },
        };
        Principal principal;
        WireError error;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                assert_int_equal(principal_parse(table[i].role, table[i].spec, &principal, &error), WIRE_E_INVALID);
                if (!strstr(error.text, table[i].part))
                        fail_msg("\"%s\": %s", table[i].spec, error.text);
        }
}

static void a_topic_that_reaches_what_has_rules_is_refused(void **state) {
        static const char *const bad[] = { "", ">", "*", "*.x", "$JS.API.>", "compozy.>", "compozy", "_INBOX.>",
                "agent.>", "agent.a.replies", "action.pay", "a b", "a\"b", "a..b", "a,b" };
        static const char *const good[] = { "thread.>", "agents.x", "news", "news.*.x" };
        WireError error;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (permissions_check_topic(SLICE("compozy"), slice_of(bad[i]), &error) != WIRE_E_INVALID)
                        fail_msg("%s was taken", bad[i]);
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_int_equal(permissions_check_topic(SLICE("compozy"), slice_of(good[i]), &error), 0);
}

static const char *text_of(Buffer *buffer) {
        buffer_append_char(buffer, '\0');
        assert_false(buffer->failed);
        return buffer->data;
}

static void the_files_name_each_key_and_say_the_same_each_time(void **state) {
        _cleanup_(buffer_done) Buffer first = {}, second = {}, server = {}, runtime = {}, context = {};

        (void)state;

        nats_config_write_accounts(&config, &first);
        nats_config_write_accounts(&config, &second);
        assert_string_equal(text_of(&first), text_of(&second));
        for (size_t i = 0; i < ELEMENTSOF(specs); i++)
                assert_non_null(strstr(first.data, principals[i].public_key));
        assert_non_null(strstr(first.data, "--runtime 'r1:summarizer,helper' --runtime 'r2' --operator 'alice'"));

        nats_config_write_server(&config, &server);
        assert_non_null(strstr(text_of(&server), "listen: \"127.0.0.1:4222\""));
        nats_config_write_settings(&config, &principals[R1], &runtime);
        assert_non_null(strstr(text_of(&runtime), "nkey_seed_file = /etc/compozy/nats/keys/runtime-r1.nk"));
        assert_non_null(strstr(runtime.data, "[runtime]\nid = r1\n"));
        assert_non_null(strstr(runtime.data, "reply_subjects = _INBOX.>,thread.>,news.*\n"));
        nats_config_write_settings(&config, &principals[WEB], &context);
        assert_non_null(strstr(text_of(&context), "inbox_prefix = _INBOX.caller.web\n"));
}

static void without_jetstream_nothing_of_it_is_allowed(void **state) {
        _cleanup_(buffer_done) Buffer buffer = {};
        NatsConfig plain = config;

        (void)state;

        plain.permissions.has_jetstream = false;
        nats_config_write_server(&plain, &buffer);
        nats_config_write_accounts(&plain, &buffer);
        assert_null(strstr(text_of(&buffer), "jetstream:"));
        assert_null(strstr(buffer.data, "$JS"));
        assert_null(strstr(buffer.data, "$KV"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_role_may_do_this_and_not_that),
                cmocka_unit_test(nobody_but_dispatchers_commands_runtimes_to_work_and_nobody_hears_anothers_inbox),
                cmocka_unit_test(what_is_no_principal_is_refused_and_named),
                cmocka_unit_test(a_topic_that_reaches_what_has_rules_is_refused),
                cmocka_unit_test(the_files_name_each_key_and_say_the_same_each_time),
                cmocka_unit_test(without_jetstream_nothing_of_it_is_allowed),
        };

        return cmocka_run_group_tests(tests, set_up, NULL);
}
