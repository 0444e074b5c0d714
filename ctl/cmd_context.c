/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/context.h"
#include "ctl/fields.h"

typedef struct Options {
        bool force;
} Options;

static const Option save_options[] = {
        { .name = "force",
                .letter = 'f',
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, force),
                .help = "Also when there is one of that name" },
        {},
};

static const Argument name_argument[] = {
        { .name = "NAME", .help = "1-64 characters of A-Z a-z 0-9 _ -", .words = WORD_CONTEXT },
        {},
};

static const Argument optional_name[] = {
        { .name = "NAME", .help = "The one in use when left out", .words = WORD_CONTEXT, .is_optional = true },
        {},
};

static const Column columns[] = { { .title = "" }, { .title = "CONTEXT" }, { .title = "NATS", .may_shrink = true } };

static CtlExit check_name(const Ctl *ctl, const char *name) {
        ConfigError error = {};

        return context_check_name(name, &error) == 0 ? CTL_EXIT_OK : ctl_fail(ctl, CTL_EXIT_USAGE, "%s", error.text);
}

/* The address without secrets, or what is wrong with the file. */
static void describe(const char *name, char *ret, size_t size) {
        _cleanup_(buffer_done) Buffer shown = {};
        CtlSettings settings = {};
        ConfigError error = {};

        if (context_load(&(ContextRequest){ .context = name }, &settings, &error) != 0) {
                (void)snprintf(ret, size, "%s", error.text);
                return;
        }
        nats_url_redact(slice_of(settings.daemon.url), &shown);
        (void)snprintf(ret, size, "%.*s", SLICE_ARG(buffer_slice(&shown)));
        ctl_settings_done(&settings);
}

static void free_names(ContextName **names) {
        free(*names);
}

static CtlExit run_list(Ctl *ctl, const Invocation *invocation) {
        _cleanup_(table_freep) Table *table = table_new(columns, ELEMENTSOF(columns));
        _cleanup_(free_names) ContextName *names = NULL;
        char current[ID_MAX + 1], shown[1024];
        json_t *list = json_array();
        CtlExit status = CTL_EXIT_OK;
        size_t n = 0;
        int r = context_names(&names, &n);

        (void)invocation;

        if (r < 0 && r != -ENOENT)
                status = ctl_fail(ctl, CTL_EXIT_FAILURE, "saved contexts: %s", strerror(-r));
        context_current(current);
        for (size_t i = 0; i < n; i++) {
                const char *name = names[i].text;
                const bool is_current = strcmp(name, current) == 0;

                describe(name, shown, sizeof(shown));
                table_cell(table, COLOUR_GOOD, "%s", is_current ? "*" : " ");
                table_cell(table, COLOUR_STRONG, "%s", name);
                table_cell(table, COLOUR_NONE, "%s", shown);
                (void)json_array_append_new(
                        list, json_pack("{s:s, s:s, s:b}", "context", name, "nats", shown, "current", is_current));
        }
        if (status == CTL_EXIT_OK && ctl->global.json)
                status = ctl_print_json(ctl, list);
        else if (status == CTL_EXIT_OK && n > 0)
                status = ctl_print_table(ctl, table);
        else if (status == CTL_EXIT_OK)
                ctl_note(ctl, "No contexts. `compozyctl --server nats://HOST:4222 context save NAME` makes one.");
        json_decref(list);
        return status;
}

static CtlExit run_show(Ctl *ctl, const Invocation *invocation) {
        json_t *object = json_object();
        CtlExit status;

        if (invocation->words[0])
                ctl->global.context = invocation->words[0];
        status = ctl_load_settings(ctl);
        for (size_t i = 0; status == CTL_EXIT_OK && i < ctl_config.n_keys; i++) {
                const ConfigKey *key = &ctl_config.keys[i];
                const char *value =
                        key->kind == CONFIG_U64 ? "" : *(char *const *)((char *)&ctl->settings + key->offset);
                _cleanup_(buffer_done) Buffer shown = {};
                char name[64];

                if (key->kind == CONFIG_U64)
                        continue;
                if (strcmp(key->name, "url") == 0)
                        nats_url_redact(slice_of(value), &shown);
                else
                        buffer_append_slice(&shown, slice_of(value));
                (void)snprintf(name, sizeof(name), "%s.%s", key->section, key->name);
                if (!ctl->global.json)
                        field_line(ctl, name, COLOUR_NONE, "%.*s", SLICE_ARG(buffer_slice(&shown)));
                (void)json_object_set_new(object, name, json_stringn(shown.data ? shown.data : "", shown.size));
        }
        if (status == CTL_EXIT_OK && ctl->global.json) {
                (void)json_object_set_new(
                        object, "context", ctl->settings.context ? json_string(ctl->settings.context) : json_null());
                status = ctl_print_json(ctl, object);
        } else if (status == CTL_EXIT_OK) {
                field_line(ctl, "context", COLOUR_NONE, "%s", ctl->settings.context ? ctl->settings.context : "none");
        }
        json_decref(object);
        return status;
}

static CtlExit run_save(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        const char *name = invocation->words[0];
        CtlExit status = check_name(ctl, name);
        int r;

        if (status == CTL_EXIT_OK)
                status = ctl_load_settings(ctl);
        if (status != CTL_EXIT_OK)
                return status;
        r = context_save(name, &ctl->settings, wanted->force);
        if (r == -EEXIST)
                return ctl_fail(ctl, CTL_EXIT_USAGE, "there is a context %s; --force overwrites it", name);
        if (r == -EINVAL)
                return ctl_fail(ctl, CTL_EXIT_USAGE,
                        "context %s: a value has control characters, spaces at an end, or what a file takes for a "
                        "comment",
                        name);
        if (r < 0)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "context %s: %s", name, strerror(-r));
        ctl_note(ctl, "Saved. `compozyctl context use %s` makes it the current one.", name);
        return CTL_EXIT_OK;
}

static CtlExit run_use(Ctl *ctl, const Invocation *invocation) {
        const char *name = invocation->words[0], *url = getenv("NATS_URL");
        CtlExit status = check_name(ctl, name);
        int r;

        if (status != CTL_EXIT_OK)
                return status;
        ctl->global.context = name;
        status = ctl_load_settings(ctl);
        if (status != CTL_EXIT_OK)
                return status;
        r = context_set_current(name);
        if (r < 0)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "context %s: %s", name, strerror(-r));
        if (url && url[0] != '\0')
                ctl_note(ctl, "NATS_URL is set, and goes before the current context.");
        return CTL_EXIT_OK;
}

static CtlExit run_delete(Ctl *ctl, const Invocation *invocation) {
        const char *name = invocation->words[0];
        CtlExit status = check_name(ctl, name);
        int r;

        if (status != CTL_EXIT_OK)
                return status;
        r = context_delete(name);
        return r == 0 ? CTL_EXIT_OK : ctl_fail(ctl, CTL_EXIT_FAILURE, "context %s: %s", name, strerror(-r));
}

const Command command_context_list = {
        .name = "context list",
        .summary = "List the saved contexts",
        .run = run_list,
};

const Command command_context_show = {
        .name = "context show",
        .summary = "Show the settings in use, without secrets",
        .arguments = optional_name,
        .run = run_show,
};

const Command command_context_save = {
        .name = "context save",
        .summary = "Save the settings in use under a name",
        .example = "  compozyctl --server nats://nats.example.org:4222 -o nats.credentials=/etc/compozy/me.creds "
                   "context save prod",
        .arguments = name_argument,
        .options = save_options,
        .options_size = sizeof(Options),
        .run = run_save,
};

const Command command_context_use = {
        .name = "context use",
        .summary = "Make a context the current one",
        .arguments = name_argument,
        .run = run_use,
};

const Command command_context_delete = {
        .name = "context delete",
        .summary = "Forget a context",
        .arguments = name_argument,
        .run = run_delete,
};
