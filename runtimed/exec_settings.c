/* SPDX-License-Identifier: MIT */

/*
 * One table for the scanner; what it can't say (no unknown key, texts in lists, least values) is checked behind it.
 *
 * There is no limit of processes: the kernel counts RLIMIT_NPROC for the whole user, the runtime's own threads and all
 * other agents included, so no number written here could mean what it says. A unit's TasksMax= can.
 */

#include <stdio.h>

#include "proto/message.h"
#include "proto/scan.h"
#include "runtimed/exec_settings.h"

#define LINE_BYTES_MIN 1024
#define LINE_BYTES_MAX (64 * 1024 * 1024)
#define OPEN_FILES_MIN 8 /* 0 to 2, and what a loader opens */
#define OPEN_FILES_MAX 1048576
#define MEMORY_BYTES_MIN (1024 * 1024) /* less, and not even a C library loads */
#define BYTES_MAX (UINT64_C(1) << 50)

typedef struct Raw {
        Slice command, env, limits, working_directory;
        ExecSettings settings;
} Raw;

#define NUMBER(key, at, most) \
        { .name = key, .kind = SCAN_U64, .offset = offsetof(Raw, settings.at), .max = most }

static const ScanField limits_fields[] = {
        NUMBER("memory_bytes", limits.memory_bytes, BYTES_MAX),
        NUMBER("open_files", limits.open_files, OPEN_FILES_MAX),
        NUMBER("cpu_seconds", limits.cpu_seconds, UINT32_MAX),
        NUMBER("file_bytes", limits.file_bytes, BYTES_MAX),
        { .name = NULL },
};

static const ScanField fields[] = {
        { .name = "command", .kind = SCAN_RAW_ARRAY, .required = true, .offset = offsetof(Raw, command) },
        { .name = "working_directory",
                .kind = SCAN_TEXT,
                .offset = offsetof(Raw, working_directory),
                .max = EXEC_TEXT_MAX },
        { .name = "env", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Raw, env) },
        NUMBER("call_timeout_ms", call_timeout_ms, DEADLINE_MS_MAX),
        NUMBER("start_timeout_ms", start_timeout_ms, DEADLINE_MS_MAX),
        NUMBER("stop_timeout_ms", stop_timeout_ms, DEADLINE_MS_MAX),
        NUMBER("max_line_bytes", max_line_bytes, LINE_BYTES_MAX),
        { .name = "limits", .kind = SCAN_OBJECT, .fields = limits_fields, .raw_offset = offsetof(Raw, limits) },
        { .name = NULL },
};

static const struct {
        const char *name;
        size_t offset;
        uint64_t least;
} least[] = {
        { "call_timeout_ms", offsetof(ExecSettings, call_timeout_ms), 1 },
        { "start_timeout_ms", offsetof(ExecSettings, start_timeout_ms), 1 },
        { "stop_timeout_ms", offsetof(ExecSettings, stop_timeout_ms), 1 },
        { "max_line_bytes", offsetof(ExecSettings, max_line_bytes), LINE_BYTES_MIN },
        { "limits.memory_bytes", offsetof(ExecSettings, limits.memory_bytes), MEMORY_BYTES_MIN },
        { "limits.open_files", offsetof(ExecSettings, limits.open_files), OPEN_FILES_MIN },
        { "limits.cpu_seconds", offsetof(ExecSettings, limits.cpu_seconds), 1 },
};

static int check_known(Slice object, const char *where, const ScanField *known, Arena *arena, WireError *ret_error) {
        size_t cursor = 0;
        Slice name, value;
        int r;

        while ((r = scan_next_member(object, &cursor, arena, &name, &value)) > 0) {
                const ScanField *field = known;

                while (field->name && !slice_equal(slice_of(field->name), name))
                        field++;
                if (!field->name)
                        return wire_error(ret_error, "exec.%s%.*s: there is no such key", where,
                                (int)MIN_OF(name.size, (size_t)64), name.data);
        }
        return r;
}

static int check_least(const ExecSettings *settings, WireError *ret_error) {
        for (size_t i = 0; i < ELEMENTSOF(least); i++) {
                const uint64_t value = *(const uint64_t *)((const char *)settings + least[i].offset);

                if (value < least[i].least)
                        return wire_error(ret_error, "exec.%s: %llu is below the least of %llu", least[i].name,
                                (unsigned long long)value, (unsigned long long)least[i].least);
        }
        return 0;
}

static char *keep(Arena *arena, Slice text) {
        char *copy = arena_alloc(arena, text.size + 1);

        if (!copy)
                return NULL;
        if (text.size > 0)
                memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
        return copy;
}

static int read_command(Slice array, ExecSettings *settings, WireError *ret_error) {
        size_t cursor = 0, n = 0;
        Slice element, text;

        settings->command = arena_alloc(&settings->arena, (EXEC_COMMAND_MAX + 1) * sizeof(char *));
        if (!settings->command)
                return -ENOMEM;

        for (; scan_next(array, &cursor, &element); n++) {
                int r;

                if (n == EXEC_COMMAND_MAX)
                        return wire_error(ret_error, "exec.command: more than %d texts", EXEC_COMMAND_MAX);
                r = scan_text(element, &settings->arena, &text);
                if (r < 0)
                        return r;
                if (r != 0 || text.size > EXEC_TEXT_MAX)
                        return wire_error(
                                ret_error, "exec.command[%zu]: must be a text of at most %d bytes", n, EXEC_TEXT_MAX);
                settings->command[n] = keep(&settings->arena, text);
                if (!settings->command[n])
                        return -ENOMEM;
        }
        settings->command[n] = NULL;

        if (n == 0 || settings->command[0][0] == '\0')
                return wire_error(ret_error, "exec.command: the first text names the program, and there is none");
        return 0;
}

static bool is_variable_name(Slice name) {
        if (name.size == 0 || name.size > 256 || (name.data[0] >= '0' && name.data[0] <= '9'))
                return false;
        for (size_t i = 0; i < name.size; i++)
                if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_", name.data[i]) ||
                        name.data[i] == '\0')
                        return false;
        return true;
}

static int read_variable(Slice name, Slice value, ExecSettings *settings, char **ret, WireError *ret_error) {
        const int shown = (int)MIN_OF(name.size, (size_t)64);
        Slice text;
        int r;

        if (!is_variable_name(name))
                return wire_error(ret_error, "exec.env: %.*s is no name of a variable", shown, name.data);
        if (slice_equal(name, SLICE(EXEC_ENV_OURS)))
                return wire_error(ret_error, "exec.env: %s is set by the runtime", EXEC_ENV_OURS);
        r = scan_text(value, &settings->arena, &text);
        if (r < 0)
                return r;
        if (r != 0 || text.size > EXEC_TEXT_MAX)
                return wire_error(ret_error, "exec.env.%.*s: must be a text of at most %d bytes", shown, name.data,
                        EXEC_TEXT_MAX);

        *ret = arena_alloc(&settings->arena, name.size + text.size + 2);
        if (!*ret)
                return -ENOMEM;
        (void)sprintf(*ret, "%.*s=%.*s", SLICE_ARG(name), SLICE_ARG(text));
        return 0;
}

static int read_env(Slice object, ExecSettings *settings, WireError *ret_error) {
        size_t cursor = 0, n = 0;
        Slice name, value;
        int r;

        settings->env = arena_alloc(&settings->arena, (EXEC_ENV_MAX + 1) * sizeof(char *));
        if (!settings->env)
                return -ENOMEM;

        while (object.data && (r = scan_next_member(object, &cursor, &settings->arena, &name, &value)) != 0) {
                if (r < 0)
                        return r;
                if (n == EXEC_ENV_MAX)
                        return wire_error(ret_error, "exec.env: more than %d variables", EXEC_ENV_MAX);
                r = read_variable(name, value, settings, &settings->env[n++], ret_error);
                if (r != 0)
                        return r;
        }
        settings->env[n] = NULL;
        return 0;
}

static int check_raw(Slice raw, Raw *read, WireError *ret_error) {
        ExecSettings *settings = &read->settings;
        WireError error = {};
        int r;

        if (!raw.data || raw.size == 0 || raw.data[0] != '{')
                return wire_error(ret_error, "exec: must be an object with at least the key command");
        r = scan_object(raw, fields, read, &settings->arena, &error);
        if (r > 0)
                return wire_error(ret_error, "exec: %s", error.text);
        if (r == 0)
                r = check_known(raw, "", fields, &settings->arena, ret_error);
        if (r == 0 && read->limits.data)
                r = check_known(read->limits, "limits.", limits_fields, &settings->arena, ret_error);
        return r == 0 ? check_least(settings, ret_error) : r;
}

static int read_all(Slice raw, Raw *read, WireError *ret_error) {
        ExecSettings *settings = &read->settings;
        int r;

        r = check_raw(raw, read, ret_error);
        if (r == 0)
                r = read_command(read->command, settings, ret_error);
        if (r == 0)
                r = read_env(read->env, settings, ret_error);
        if (r != 0 || !read->working_directory.data)
                return r;
        if (read->working_directory.size == 0)
                return wire_error(ret_error, "exec.working_directory: is empty");

        settings->working_directory = keep(&settings->arena, read->working_directory);
        return settings->working_directory ? 0 : -ENOMEM;
}

int exec_settings_read(Slice raw, ExecSettings *ret, WireError *ret_error) {
        Raw read = {
                .settings = {
                        .call_timeout_ms = 30000,
                        .start_timeout_ms = 10000,
                        .stop_timeout_ms = 5000,
                        .max_line_bytes = 1024 * 1024,
                        .limits = { EXEC_UNLIMITED, EXEC_UNLIMITED, EXEC_UNLIMITED, EXEC_UNLIMITED },
                },
        };
        int r;

        r = read_all(raw, &read, ret_error);
        if (r != 0) {
                exec_settings_done(&read.settings);
                return r;
        }

        *ret = read.settings;
        return 0;
}

void exec_settings_done(ExecSettings *settings) {
        arena_clear(&settings->arena);
        *settings = (ExecSettings){};
}
