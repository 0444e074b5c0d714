/* SPDX-License-Identifier: MIT */

/*
 * Definitions are read in two steps: the scanner fills a Raw with what the text says, checking types and ranges, then
 * rules that a table of fields can't say are applied. Errors name field, value and limit, because the reader of the
 * error has the file open in an editor.
 */

#include "proto/message.h"
#include "proto/scan.h"
#include "runtimed/definition.h"

#define PRIORITY_REALTIME 70
#define PRIORITY_BATCHED 30

const char *const overflow_names[_OVERFLOW_MAX + 1] = {
        [OVERFLOW_NONE] = "",
        [OVERFLOW_REJECT] = "reject",
        [OVERFLOW_DROP_OLDEST] = "drop_oldest",
        [OVERFLOW_DROP_NEWEST] = "drop_newest",
        [_OVERFLOW_MAX] = NULL,
};

typedef struct Raw {
        Slice agent_id, agent_type;
        Slice parameters, capabilities;
        unsigned overflow;
        uint64_t priority, mailbox_capacity, mailbox_bytes, quantum;
} Raw;

static const ScanField raw_fields[] = {
        { .name = "agent_id", .kind = SCAN_ID, .required = true, .offset = offsetof(Raw, agent_id) },
        { .name = "agent_type", .kind = SCAN_ID, .required = true, .offset = offsetof(Raw, agent_type) },
        { .name = "parameters", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Raw, parameters) },
        { .name = "capabilities", .kind = SCAN_RAW_ARRAY, .offset = offsetof(Raw, capabilities) },
        { .name = "overflow", .kind = SCAN_NAME, .offset = offsetof(Raw, overflow), .names = overflow_names },
        { .name = "priority", .kind = SCAN_U64, .offset = offsetof(Raw, priority), .max = PRIORITY_MAX },
        { .name = "mailbox_capacity",
                .kind = SCAN_U64,
                .offset = offsetof(Raw, mailbox_capacity),
                .max = MAILBOX_CAPACITY_MAX },
        { .name = "mailbox_bytes", .kind = SCAN_U64, .offset = offsetof(Raw, mailbox_bytes), .max = MAILBOX_BYTES_MAX },
        { .name = "quantum", .kind = SCAN_U64, .offset = offsetof(Raw, quantum), .max = QUANTUM_MAX },
        { .name = NULL },
};

/* Keys that can't be had yet. `idle`: the value that asks for nothing, and is therefore accepted. */
static const struct {
        const char *name;
        const char *idle;
        const char *why;
} unsupported[] = {
        { "subscribed_topics", "[]", "agents can't subscribe to topics in this version" },
        { "exclusive", "false", "exclusive agents are not supported in this version" },
        { "checkpoint_interval_ms", NULL, "agents keep no durable state in this version" },
        { "restart", NULL, "no behaviour of this version can crash alone, so none is restarted" },
        { "on_restore_error", NULL, "agents keep no durable state in this version" },
        { "on_checkpoint_error", NULL, "agents keep no durable state in this version" },
        { "idle_timeout_ms", "0", "agents are never put to sleep in this version" },
};

AgentClass agent_class_of(uint64_t priority) {
        if (priority >= PRIORITY_REALTIME)
                return AGENT_CLASS_REALTIME;
        return priority >= PRIORITY_BATCHED ? AGENT_CLASS_BATCHED : AGENT_CLASS_BACKGROUND;
}

const char *agent_class_name(AgentClass agent_class) {
        static const char *const names[_AGENT_CLASS_MAX] = {
#define X(name, text) [AGENT_CLASS_##name] = text,
                AGENT_CLASSES(X)
#undef X
        };

        assert(agent_class < _AGENT_CLASS_MAX);
        return names[agent_class];
}

static bool field_is_known(Slice name) {
        for (const ScanField *field = raw_fields; field->name; field++)
                if (slice_equal(slice_of(field->name), name))
                        return true;

        return false;
}

static bool slice_has_space(Slice value) {
        return memchr(value.data, ' ', value.size) || memchr(value.data, '\n', value.size);
}

static int check_key(Slice name, Slice value, WireError *ret_error) {
        if (field_is_known(name))
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(unsupported); i++) {
                if (!slice_equal(slice_of(unsupported[i].name), name))
                        continue;
                if (unsupported[i].idle && (slice_equal(slice_of(unsupported[i].idle), value)))
                        return 0;
                /* "[ ]" is as empty as "[]" */
                if (unsupported[i].idle && value.data[0] == '[' && value.size == 3 && slice_has_space(value))
                        return 0;
                return wire_error(ret_error, "%s: %s; leave it out", unsupported[i].name, unsupported[i].why);
        }

        return wire_error(ret_error, "%.*s: there is no such key", (int)MIN_OF(name.size, (size_t)64), name.data);
}

static int check_keys(Slice text, Arena *arena, WireError *ret_error) {
        size_t cursor = 0;
        Slice name, value;
        int r;

        for (;;) {
                r = scan_next_member(text, &cursor, arena, &name, &value);
                if (r <= 0)
                        return r;
                r = check_key(name, value, ret_error);
                if (r != 0)
                        return r;
        }
}

static int check_capabilities(Slice array, Arena *arena, WireError *ret_error) {
        size_t cursor = 0, n = 0;
        Slice element, text;

        if (!array.data)
                return 0;
        if (array.size > CAPABILITIES_BYTES_MAX)
                return wire_error(ret_error, "capabilities: %zu bytes are over the limit of %d", array.size,
                        CAPABILITIES_BYTES_MAX);

        for (; scan_next(array, &cursor, &element); n++) {
                int r = scan_text(element, arena, &text);

                if (r < 0)
                        return r;
                if (r != 0 || text.size == 0 || text.size > LABEL_TEXT_MAX)
                        return wire_error(
                                ret_error, "capabilities[%zu]: must be a text of 1 to %d bytes", n, LABEL_TEXT_MAX);
                if (n >= CAPABILITIES_MAX)
                        return wire_error(ret_error, "capabilities: more than %d", CAPABILITIES_MAX);
        }

        return 0;
}

static int check_numbers(const Raw *raw, WireError *ret_error) {
        const struct {
                const char *name;
                uint64_t value;
        } positive[] = {
                { "mailbox_capacity", raw->mailbox_capacity },
                { "mailbox_bytes", raw->mailbox_bytes },
                { "quantum", raw->quantum },
        };

        for (size_t i = 0; i < ELEMENTSOF(positive); i++)
                if (positive[i].value == 0)
                        return wire_error(ret_error, "%s: 0 is below the limit of 1", positive[i].name);

        return 0;
}

static int definition_new(const Raw *raw, const Behavior *behavior, Definition **ret) {
        _cleanup_(definition_freep) Definition *definition = calloc(1, sizeof(*definition));

        if (!definition)
                return -ENOMEM;

        definition->agent_id = id_of(raw->agent_id);
        definition->behavior = behavior;
        definition->agent_class = agent_class_of(raw->priority);
        definition->overflow = raw->overflow;
        definition->priority = raw->priority;
        definition->mailbox_capacity = raw->mailbox_capacity;
        definition->mailbox_bytes = raw->mailbox_bytes;
        definition->quantum = raw->quantum;

        if (raw->parameters.data) {
                definition->parameters = slice_dup(raw->parameters);
                if (!definition->parameters)
                        return -ENOMEM;
        }
        if (raw->capabilities.data) {
                definition->capabilities = slice_dup(raw->capabilities);
                if (!definition->capabilities)
                        return -ENOMEM;
        }

        *ret = TAKE_PTR(definition);
        return 0;
}

int definition_parse(Slice text, const Behavior *const *behaviors, Definition **ret, WireError *ret_error) {
        _cleanup_(arena_clear) Arena arena = {};
        Raw raw = {
                .overflow = OVERFLOW_REJECT,
                .priority = PRIORITY_DEFAULT,
                .mailbox_capacity = 1000,
                .mailbox_bytes = 4 * 1024 * 1024,
                .quantum = 64,
        };
        const Behavior *behavior;
        char types[128];
        int r;

        if (text.size > DEFINITION_BYTES_MAX)
                return wire_error(ret_error, "a definition of %zu bytes is over the limit of %d", text.size,
                        DEFINITION_BYTES_MAX);

        r = scan_object(text, raw_fields, &raw, &arena, ret_error);
        if (r == 0)
                r = check_keys(text, &arena, ret_error);
        if (r == 0)
                r = check_capabilities(raw.capabilities, &arena, ret_error);
        if (r == 0)
                r = check_numbers(&raw, ret_error);
        if (r != 0)
                return r;

        behavior = behavior_find(behaviors, raw.agent_type);
        if (!behavior) {
                behavior_list_types(behaviors, types, sizeof(types));
                return wire_error(ret_error, "agent_type: \"%.*s\" is none of %s", SLICE_ARG(raw.agent_type), types);
        }

        return definition_new(&raw, behavior, ret);
}

Definition *definition_free(Definition *definition) {
        if (!definition)
                return NULL;

        free(definition->capabilities);
        free(definition->parameters);
        free(definition);
        return NULL;
}
