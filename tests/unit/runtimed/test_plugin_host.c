/* SPDX-License-Identifier: MIT */

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compozy/behavior.h"
#include "tests/unit/runtimed/failing.h"
#include "tests/unit/runtimed/plugins.h"

#define PROBE "\"probe\""

/* a directory of plugins of its own */

typedef struct Place {
        char path[64];
} Place;

static void make_place(Place *place) {
        (void)snprintf(place->path, sizeof(place->path), "/tmp/compozy-plugins-XXXXXX");
        assert_non_null(mkdtemp(place->path));
}

static void file_of(const Place *place, const char *name, char ret[128]) {
        (void)snprintf(ret, 128, "%s/%s", place->path, name);
}

static void put_file(const Place *place, const char *name, const void *data, size_t size) {
        char path[128];
        FILE *file;

        file_of(place, name, path);
        file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(data, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
}

/* A new file, under that name, with what was built. */
static void put_plugin(const Place *place, const char *built, const char *name) {
        static char bytes[8 * 1024 * 1024];
        char path[4200];
        size_t size;
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/%s.so", built_plugins(), built);
        file = fopen(path, "r");
        assert_non_null(file);
        size = fread(bytes, 1, sizeof(bytes), file);
        assert_true(size > 0 && size < sizeof(bytes));
        (void)fclose(file);

        file_of(place, name, path);
        (void)unlink(path);
        put_file(place, name, bytes, size);
}

static void drop_place(const Place *place, const char *const *names) {
        char path[128];

        for (; *names; names++) {
                file_of(place, *names, path);
                (void)remove(path);
        }
        assert_int_equal(rmdir(place->path), 0);
}

/* what is refused */

static void assert_refused(const PluginHost *host, const char *settings, const char *says) {
        WireError error = {};

        if (check_plugin(host, settings, &error) != WIRE_E_INVALID)
                fail_msg("accepted: %s", settings);
        if (!strstr(error.text, says) || strncmp(error.text, "plugin: ", 8) != 0)
                fail_msg("%s: \"%s\" does not say: %s", settings, error.text, says);
}

static void a_plugin_that_can_not_be_had_is_refused_with_the_reason(void **state) {
        static const struct {
                const char *name, *says;
        } cases[] = {
                { "\"other_major\"", "was built for version 2 of the interface, this runtime has version 1" },
                { "\"newer_minor\"", "needs version 1.1 of the interface, this runtime has 1.0" },
                { "\"short_table\"", "bytes and says 56; at least 64 are needed" },
                { "\"overlong_table\"", "says 1048576" },
                { "\"bad_magic\"", "is no table that starts with COMPOZY_BEHAVIOR_HEAD" },
                { "\"function\"", "is no table that starts with COMPOZY_BEHAVIOR_HEAD" },
                { "\"no_table\"", "does not export compozy_behavior_table" },
                { "\"no_init\"", "has no init()" },
                { "\"no_stop\"", "has no stop()" },
                { "\"no_handle\"", "has no handle()" },
                { "\"other_name\"", "says that its name is \"somebody_else\"" },
                { "\"unresolved\"", "nobody_has_this" },
                { "\"missing\"", "there is no file" },
                { "\"../probe\"", "must be the name of a plugin" },
                { "\"probe.so\"", "must be the name of a plugin" },
                { "\"\"", "must be the name of a plugin" },
                { "{}", "must be the name of a plugin" },
                { "7", "must be the name of a plugin" },
                { NULL, "is missing" },
        };
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_refused(host, cases[i].name, cases[i].says);
}

static void without_a_directory_there_are_no_plugins(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *none = host_of("");
        _cleanup_(plugin_host_freep) PluginHost *nowhere = host_of("/nonexistent/plugins");

        (void)state;

        assert_refused(none, PROBE, "runtime.plugins_dir is not set");
        assert_refused(nowhere, PROBE, "there is no file /nonexistent/plugins");
}

static void what_is_no_shared_object_is_refused(void **state) {
        static const char *const names[] = { "garbage.so", "empty.so", "directory.so", NULL };
        _cleanup_(plugin_host_freep) PluginHost *host = NULL;
        Place place;
        char path[128];

        (void)state;

        make_place(&place);
        host = host_of(place.path);
        put_file(&place, "garbage.so", "not a shared object", 19);
        put_file(&place, "empty.so", "", 0);
        file_of(&place, "directory.so", path);
        assert_int_equal(mkdir(path, 0755), 0);
        assert_refused(host, "\"garbage\"", "could not be loaded");
        assert_refused(host, "\"empty\"", "could not be loaded");
        assert_refused(host, "\"directory\"", "is not a file");
        drop_place(&place, names);
}

static void what_everybody_can_write_is_refused(void **state) {
        static const char *const names[] = { "probe.so", NULL };
        _cleanup_(plugin_host_freep) PluginHost *host = NULL;
        WireError error;
        Place place;
        char path[128];

        (void)state;

        make_place(&place);
        host = host_of(place.path);
        put_plugin(&place, "probe", "probe.so");
        file_of(&place, "probe.so", path);
        assert_int_equal(chmod(path, 0646), 0);
        assert_refused(host, PROBE, "probe.so; chmod o-w it");
        assert_int_equal(chmod(path, 0644), 0);
        assert_int_equal(chmod(place.path, 0707), 0);
        assert_refused(host, PROBE, "everybody can write to");
        assert_int_equal(chmod(place.path, 0755), 0);
        assert_int_equal(check_plugin(host, PROBE, &error), 0);
        drop_place(&place, names);
}

/* versions */

static void a_plugin_of_a_later_minor_version_that_can_do_without_it_is_taken(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        void *agent = started(host, "\"later_minor\"", NULL, SLICE_NONE, NULL);
        _cleanup_(behavior_reply_done) BehaviorReply reply = reply_to(host, agent, MESSAGE_TOPIC, SLICE("x"));

        (void)state;

        assert_said(&reply, "x");
        plugin_host_behavior(host)->stop(agent);
}

static void a_corrected_file_is_taken_after_a_refusal(void **state) {
        static const char *const names[] = { "plain.so", NULL };
        _cleanup_(plugin_host_freep) PluginHost *host = NULL;
        WireError error;
        Place place;

        (void)state;

        make_place(&place);
        host = host_of(place.path);
        put_plugin(&place, "no_init", "plain.so");
        assert_refused(host, "\"plain\"", "has no init()");
        put_plugin(&place, "plain", "plain.so");
        assert_int_equal(check_plugin(host, "\"plain\"", &error), 0);
        drop_place(&place, names);
}

static void a_file_that_has_changed_wants_a_restart_and_agents_go_on(void **state) {
        static const char *const names[] = { "plain.so", NULL };
        _cleanup_(plugin_host_freep) PluginHost *host = NULL;
        WireError error;
        Place place;
        char path[128];
        void *agent;

        (void)state;

        make_place(&place);
        host = host_of(place.path);
        put_plugin(&place, "plain", "plain.so");
        agent = started(host, "\"plain\"", NULL, SLICE_NONE, NULL);
        assert_int_equal(check_plugin(host, "\"plain\"", &error), 0);
        put_plugin(&place, "plain", "plain.so");
        assert_refused(host, "\"plain\"", "has changed since it was loaded; restart the runtime");
        file_of(&place, "plain.so", path);
        assert_int_equal(unlink(path), 0);
        assert_refused(host, "\"plain\"", "there is no file");
        {
                _cleanup_(behavior_reply_done) BehaviorReply reply = reply_to(host, agent, MESSAGE_TOPIC, SLICE("x"));

                assert_said(&reply, "x");
        }
        plugin_host_behavior(host)->stop(agent);
        drop_place(&place, names);
}

/* agents */

static void init_decides_whether_there_is_an_agent(void **state) {
        static const struct {
                const char *parameters, *saved;
                int result;
                const char *why;
        } cases[] = {
                { "{\"refuse\":1}", NULL, BEHAVIOR_E_REFUSED, "it was told to refuse" },
                { "{\"quiet\":1}", NULL, BEHAVIOR_E_REFUSED, "init() returned 42 and no reason" },
                { NULL, "0123456789012345678901234567890123456789012345678901234567890123456789", BEHAVIOR_E_STATE,
                        "this state is not mine" },
        };
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        const Behavior *behavior = plugin_host_behavior(host);
        WireError error;

        (void)state;

        assert_int_equal(check_plugin(host, PROBE, &error), 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(effects_clear) EffectList effects = {};
                const BehaviorStart start = {
                        .agent_id = SLICE("agent-7"),
                        .behavior = behavior,
                        .settings = SLICE(PROBE),
                        .parameters = slice_of(cases[i].parameters),
                        .state = slice_of(cases[i].saved),
                        .effects = &effects,
                };
                void *agent = NULL;
                char why[128] = "";

                assert_int_equal(behavior->init(&start, &agent, why, sizeof(why)), cases[i].result);
                assert_string_equal(why, cases[i].why);
                assert_null(agent);
                assert_int_equal(effects.n, 0);
        }
}

static void what_init_wants_is_kept_if_somebody_takes_it(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        _cleanup_(effects_clear) EffectList effects = {};
        void *agent = started(host, PROBE, NULL, SLICE_NONE, &effects);

        (void)state;

        assert_int_equal(effects.n, 1);
        assert_int_equal(effects.first->kind, EFFECT_TIMER);
        assert_int_equal(effects.first->token, 9);
        plugin_host_behavior(host)->stop(agent);
}

static void a_plugin_that_was_never_asked_for_is_not_there(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        const BehaviorStart start = {
                .agent_id = SLICE("agent-7"), .behavior = plugin_host_behavior(host), .settings = SLICE(PROBE)
        };
        void *agent = NULL;
        char why[128] = "";

        (void)state;

        assert_int_equal(start.behavior->init(&start, &agent, why, sizeof(why)), BEHAVIOR_E_REFUSED);
        assert_string_equal(why, "this plugin is not loaded");
}

static int checkpoint_after(PluginHost *host, void *agent, const char *input, Buffer *ret) {
        BehaviorReply reply = reply_to(host, agent, MESSAGE_TOPIC, slice_of(input));

        behavior_reply_done(&reply);
        buffer_clear(ret);
        return plugin_host_behavior(host)->checkpoint(agent, ret);
}

static void a_state_comes_back_as_it_was_kept(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        void *agent = started(host, PROBE, NULL, SLICE("as it was"), NULL);
        _cleanup_(buffer_done) Buffer kept = {};

        (void)state;

        assert_int_equal(checkpoint_after(host, agent, "unknown to it", &kept), 0);
        assert_true(slice_equal(buffer_slice(&kept), SLICE("as it was")));
        assert_int_equal(checkpoint_after(host, agent, "output", &kept), 0);
        assert_true(slice_equal(buffer_slice(&kept), SLICE("last was output")));
        assert_int_equal(checkpoint_after(host, agent, "fail", &kept), BEHAVIOR_E_REFUSED);
        assert_true(slice_equal(buffer_slice(&kept), SLICE("nothing worth keeping")));
        assert_int_equal(checkpoint_after(host, agent, "nothing", &kept), BEHAVIOR_E_REFUSED);
        assert_true(slice_equal(buffer_slice(&kept), SLICE("checkpoint() returned -1 and no reason")));
        plugin_host_behavior(host)->stop(agent);
}

static void a_plugin_without_checkpoint_keeps_nothing(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        void *agent = started(host, "\"plain\"", NULL, SLICE("of somebody"), NULL);
        _cleanup_(buffer_done) Buffer kept = {};

        (void)state;

        assert_int_equal(plugin_host_behavior(host)->checkpoint(agent, &kept), 0);
        assert_int_equal(kept.size, 0);
        plugin_host_behavior(host)->stop(agent);
}

/* Not while it is loaded: what the loader does without memory is its own business. */
static void without_memory_each_hook_says_so(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = NULL;
        _cleanup_(buffer_done) Buffer kept = {};
        const Behavior *behavior;
        BehaviorStart start;
        WireError error;
        void *agent = NULL;
        char why[128];
        bool was_done = false;
        int r = -ENOMEM;

        (void)state;

        if (!FAILING_WORKS)
                skip();
        host = host_of(built_plugins());
        behavior = plugin_host_behavior(host);
        start = (BehaviorStart){ .agent_id = SLICE("agent-7"), .behavior = behavior, .settings = SLICE(PROBE) };
        assert_int_equal(check_plugin(host, PROBE, &error), 0);
        for (size_t n = 1; r == -ENOMEM; n++) {
                assert_null(agent);
                fail_at = n;
                r = behavior->init(&start, &agent, why, sizeof(why));
                fail_at = 0;
        }
        assert_int_equal(r, 0);
        for (size_t n = 1; !was_done; n++) {
                fail_at = n;
                _cleanup_(behavior_reply_done) BehaviorReply reply =
                        reply_to(host, agent, MESSAGE_TOPIC, SLICE("all_wishes"));

                was_done = fail_at > 0;
                fail_at = 0;
                assert_true(was_done == (reply.verdict == BEHAVIOR_DONE && !reply.effects.failed &&
                                                !reply.output.failed && reply.effects.n == 15 &&
                                                slice_equal(buffer_slice(&reply.output), SLICE("\"all\""))));
        }
        fail_at = 1;
        assert_int_equal(behavior->checkpoint(agent, &kept), -ENOMEM);
        fail_at = 0;
        behavior->stop(agent);
}

/* threads */

static void *run_agents(void *userdata) {
        PluginHost *host = userdata;

        for (int i = 0; i < 200; i++) {
                const BehaviorStart start = {
                        .agent_id = SLICE("agent-7"), .behavior = plugin_host_behavior(host), .settings = SLICE(PROBE)
                };
                void *agent = NULL;
                char why[128];

                if (start.behavior->init(&start, &agent, why, sizeof(why)) != 0)
                        return "init";
                {
                        _cleanup_(behavior_reply_done) BehaviorReply reply =
                                reply_to(host, agent, MESSAGE_TOPIC, SLICE("all_wishes"));

                        if (reply.effects.n != 15)
                                return "wishes";
                }
                start.behavior->stop(agent);
        }
        return NULL;
}

static void agents_run_while_further_plugins_are_loaded(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        pthread_t threads[3];
        WireError error;
        void *trouble;

        (void)state;

        assert_int_equal(check_plugin(host, PROBE, &error), 0);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, run_agents, host), 0);
        assert_int_equal(check_plugin(host, "\"plain\"", &error), 0);
        assert_int_equal(check_plugin(host, "\"later_minor\"", &error), 0);
        assert_refused(host, "\"no_init\"", "has no init()");
        for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
                assert_int_equal(pthread_join(threads[i], &trouble), 0);
                assert_null(trouble);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_plugin_that_can_not_be_had_is_refused_with_the_reason),
                cmocka_unit_test(without_a_directory_there_are_no_plugins),
                cmocka_unit_test(what_is_no_shared_object_is_refused),
                cmocka_unit_test(what_everybody_can_write_is_refused),
                cmocka_unit_test(a_plugin_of_a_later_minor_version_that_can_do_without_it_is_taken),
                cmocka_unit_test(a_corrected_file_is_taken_after_a_refusal),
                cmocka_unit_test(a_file_that_has_changed_wants_a_restart_and_agents_go_on),
                cmocka_unit_test(init_decides_whether_there_is_an_agent),
                cmocka_unit_test(what_init_wants_is_kept_if_somebody_takes_it),
                cmocka_unit_test(a_plugin_that_was_never_asked_for_is_not_there),
                cmocka_unit_test(a_state_comes_back_as_it_was_kept),
                cmocka_unit_test(a_plugin_without_checkpoint_keeps_nothing),
                cmocka_unit_test(without_memory_each_hook_says_so),
                cmocka_unit_test(agents_run_while_further_plugins_are_loaded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
