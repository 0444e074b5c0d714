/* SPDX-License-Identifier: MIT */

/*
 * Definitions are read in two steps: the scanner fills a Raw with what the text says, checking types and ranges, then
 * rules that a table of fields can't say are applied. Errors name field, value and limit, because the reader of the
 * error has the file open in an editor.
 */

#include <stdio.h>

#include "proto/message.h"
#include "proto/scan.h"
#include "proto/subject.h"
#include "runtimed/definition.h"

#define PRIORITY_REALTIME 70
#define PRIORITY_BATCHED 30
#define CONCURRENCY_UNSET UINT64_MAX
#define BACKOFF_MS_MAX (60 * 60 * 1000) /* the first pause; doubled by each restart, so this is already long */

/* Keys that are the settings of one type, and named like it. */
typedef enum Settings {
        SETTINGS_EXEC,
        SETTINGS_PLUGIN,
        _SETTINGS_MAX,
} Settings;

static const char *const settings_names[_SETTINGS_MAX] = {
        [SETTINGS_EXEC] = "exec",
        [SETTINGS_PLUGIN] = "plugin",
};

const char *const overflow_names[_OVERFLOW_MAX + 1] = {
        [OVERFLOW_NONE] = "",
        [OVERFLOW_REJECT] = "reject",
        [OVERFLOW_DROP_OLDEST] = "drop_oldest",
        [OVERFLOW_DROP_NEWEST] = "drop_newest",
        [_OVERFLOW_MAX] = NULL,
};

const char *const qos_names[_QOS_MAX + 1] = {
        [QOS_NONE] = "",
        [QOS_REALTIME] = "realtime",
        [QOS_BATCHED] = "batched",
        [QOS_BACKGROUND] = "background",
        [_QOS_MAX] = NULL,
};

const char *const on_restore_error_names[_ON_RESTORE_ERROR_MAX + 1] = {
        [ON_RESTORE_ERROR_NONE] = "",
        [ON_RESTORE_ERROR_FAIL] = "fail",
        [ON_RESTORE_ERROR_FRESH] = "fresh",
        [ON_RESTORE_ERROR_PREVIOUS] = "previous",
        [_ON_RESTORE_ERROR_MAX] = NULL,
};

const char *const on_checkpoint_error_names[_ON_CHECKPOINT_ERROR_MAX + 1] = {
        [ON_CHECKPOINT_ERROR_NONE] = "",
        [ON_CHECKPOINT_ERROR_RETRY] = "retry",
        [ON_CHECKPOINT_ERROR_STOP] = "stop",
        [_ON_CHECKPOINT_ERROR_MAX] = NULL,
};

typedef struct Raw {
        Slice agent_id, agent_type;
        Slice parameters, capabilities, subscribed_topics;
        Slice restart; /* its own text: what it holds is in the three numbers */
        Slice settings[_SETTINGS_MAX];
        unsigned overflow, on_restore_error, on_checkpoint_error;
        uint64_t priority, mailbox_capacity, mailbox_bytes, quantum;
        uint64_t max_concurrency; /* CONCURRENCY_UNSET: left out, which is not the same as 1 */
        uint64_t checkpoint_interval_ms;
        uint64_t restart_max, restart_window_ms, restart_backoff_ms;
} Raw;

/* clang-format off */
static const ScanField restart_fields[] = {
        { .name = "max", .kind = SCAN_U64, .offset = offsetof(Raw, restart_max), .max = RESTARTS_MAX },
        { .name = "window_ms", .kind = SCAN_U64, .offset = offsetof(Raw, restart_window_ms), .max = DEADLINE_MS_MAX },
        { .name = "backoff_ms", .kind = SCAN_U64, .offset = offsetof(Raw, restart_backoff_ms), .max = BACKOFF_MS_MAX },
        { .name = NULL },
};

static const ScanField raw_fields[] = {
        { .name = "agent_id", .kind = SCAN_ID, .required = true, .offset = offsetof(Raw, agent_id) },
        { .name = "agent_type", .kind = SCAN_ID, .required = true, .offset = offsetof(Raw, agent_type) },
        { .name = "parameters", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Raw, parameters) },
        { .name = "capabilities", .kind = SCAN_RAW_ARRAY, .offset = offsetof(Raw, capabilities) },
        { .name = "subscribed_topics", .kind = SCAN_RAW_ARRAY, .offset = offsetof(Raw, subscribed_topics) },
        { .name = "overflow", .kind = SCAN_NAME, .offset = offsetof(Raw, overflow), .names = overflow_names },
        { .name = "on_restore_error", .kind = SCAN_NAME, .offset = offsetof(Raw, on_restore_error),
                .names = on_restore_error_names },
        { .name = "on_checkpoint_error", .kind = SCAN_NAME, .offset = offsetof(Raw, on_checkpoint_error),
                .names = on_checkpoint_error_names },
        { .name = "priority", .kind = SCAN_U64, .offset = offsetof(Raw, priority), .max = PRIORITY_MAX },
        { .name = "mailbox_capacity", .kind = SCAN_U64, .offset = offsetof(Raw, mailbox_capacity),
                .max = MAILBOX_CAPACITY_MAX },
        { .name = "mailbox_bytes", .kind = SCAN_U64, .offset = offsetof(Raw, mailbox_bytes), .max = MAILBOX_BYTES_MAX },
        { .name = "quantum", .kind = SCAN_U64, .offset = offsetof(Raw, quantum), .max = QUANTUM_MAX },
        { .name = "max_concurrency", .kind = SCAN_U64, .offset = offsetof(Raw, max_concurrency),
                .max = CONCURRENCY_MAX },
        { .name = "checkpoint_interval_ms", .kind = SCAN_U64, .offset = offsetof(Raw, checkpoint_interval_ms),
                .max = DEADLINE_MS_MAX },
        { .name = "restart", .kind = SCAN_OBJECT, .fields = restart_fields, .raw_offset = offsetof(Raw, restart) },
        { .name = "exec", .kind = SCAN_RAW, .offset = offsetof(Raw, settings[SETTINGS_EXEC]) },
        { .name = "plugin", .kind = SCAN_RAW, .offset = offsetof(Raw, settings[SETTINGS_PLUGIN]) },
        { .name = NULL },
};
/* clang-format on */

/* Keys that can't be had yet. `idle`: the value that asks for nothing, and is therefore accepted. */
static const struct {
        const char *name;
        const char *idle;
        const char *why;
} unsupported[] = {
        { "exclusive", "false", "exclusive agents are not supported in this version" },
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

static bool field_is_known(const ScanField *fields, Slice name) {
        for (const ScanField *field = fields; field->name; field++)
                if (slice_equal(slice_of(field->name), name))
                        return true;

        return false;
}

static int key_unknown(const char *where, Slice name, WireError *ret_error) {
        return wire_error(ret_error, "%s%s%.*s: there is no such key", where, *where ? "." : "",
                (int)MIN_OF(name.size, (size_t)64), name.data);
}

/* The members of `object`, which stands at `where`, are all in the table. */
static int check_known(Slice object, const char *where, const ScanField *fields, Arena *arena, WireError *ret_error) {
        size_t cursor = 0;
        Slice name, value;
        int r;

        while ((r = scan_next_member(object, &cursor, arena, &name, &value)) > 0)
                if (!field_is_known(fields, name))
                        return key_unknown(where, name, ret_error);
        return r;
}

static int check_key(Slice name, Slice value, WireError *ret_error) {
        if (field_is_known(raw_fields, name))
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(unsupported); i++) {
                if (!slice_equal(slice_of(unsupported[i].name), name))
                        continue;
                if (slice_equal(slice_of(unsupported[i].idle), value) || slice_equal(SLICE("null"), value))
                        return 0;
                return wire_error(ret_error, "%s: %s; leave it out", unsupported[i].name, unsupported[i].why);
        }

        return key_unknown("", name, ret_error);
}

static int check_keys(Slice text, Arena *arena, WireError *ret_error) {
        size_t cursor = 0;
        Slice name, value;
        int r;

        while ((r = scan_next_member(text, &cursor, arena, &name, &value)) > 0) {
                r = check_key(name, value, ret_error);
                if (r != 0)
                        return r;
        }
        return r;
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

/* topics */

typedef struct RawTopic {
        Slice topic, queue;
        unsigned qos;
} RawTopic;

static const ScanField topic_fields[] = {
        { .name = "topic", .kind = SCAN_TEXT, .required = true, .offset = offsetof(RawTopic, topic) },
        { .name = "queue", .kind = SCAN_TEXT, .offset = offsetof(RawTopic, queue) },
        { .name = "qos", .kind = SCAN_NAME, .offset = offsetof(RawTopic, qos), .names = qos_names },
        { .name = NULL },
};

static int check_topic_text(const char *what, Slice text, bool is_pattern, WireError *ret_error) {
        if (text.size > TOPIC_BYTES_MAX)
                return wire_error(
                        ret_error, "%s: %zu bytes are over the limit of %d", what, text.size, TOPIC_BYTES_MAX);
        if (is_pattern && !subject_pattern_is_valid(text))
                return wire_error(ret_error, "%s: \"%.*s\" is not a topic", what, SLICE_ARG(text));
        if (!is_pattern && !subject_is_valid(text))
                return wire_error(ret_error, "%s: \"%.*s\" can't be the name of a queue", what, SLICE_ARG(text));
        return 0;
}

int topic_wanted_parse(Slice value, const char *what, Arena *arena, TopicWanted *ret, WireError *ret_error) {
        RawTopic raw = { .qos = QOS_BATCHED };
        WireError error = {};
        int r;

        if (value.size > 0 && value.data[0] == '"') {
                r = scan_text(value, arena, &raw.topic);
                if (r == WIRE_E_INVALID)
                        return wire_error(ret_error, "%s: a text with a NUL in it is not a topic", what);
        } else if (value.size > 0 && value.data[0] == '{') {
                r = scan_object(value, topic_fields, &raw, arena, &error);
                if (r == WIRE_E_INVALID)
                        return wire_error(ret_error, "%s: %s", what, error.text);
        } else
                return wire_error(ret_error, "%s: must be a text, or an object {topic, queue, qos}", what);

        if (r == 0)
                r = check_topic_text(what, raw.topic, /* is_pattern= */ true, ret_error);
        if (r == 0 && raw.queue.data)
                r = check_topic_text(what, raw.queue, /* is_pattern= */ false, ret_error);
        if (r != 0)
                return r;

        *ret = (TopicWanted){ .topic = raw.topic, .queue = raw.queue, .qos = (Qos)raw.qos };
        return 0;
}

static int compare_slices(const void *a, const void *b) {
        const Slice *x = a, *y = b;
        const int order = memcmp(x->data, y->data, MIN_OF(x->size, y->size));

        return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* One agent holds a topic once, whatever the queue. */
static int check_distinct(Slice *topics, size_t n, WireError *ret_error) {
        qsort(topics, n, sizeof(*topics), compare_slices);
        for (size_t i = 1; i < n; i++)
                if (slice_equal(topics[i - 1], topics[i]))
                        return wire_error(
                                ret_error, "subscribed_topics: \"%.*s\" is there twice", SLICE_ARG(topics[i]));
        return 0;
}

static int check_topics(Slice array, Arena *arena, WireError *ret_error) {
        Slice topics[TOPICS_MAX], element;
        size_t cursor = 0, n = 0;
        TopicWanted wanted;
        char what[48];

        for (; scan_next(array, &cursor, &element); n++) {
                int r;

                if (n >= TOPICS_MAX)
                        return wire_error(ret_error, "subscribed_topics: more than %d", TOPICS_MAX);
                (void)snprintf(what, sizeof(what), "subscribed_topics[%zu]", n);
                r = topic_wanted_parse(element, what, arena, &wanted, ret_error);
                if (r == 0)
                        r = check_known(element, what, topic_fields, arena, ret_error);
                if (r != 0)
                        return r;
                topics[n] = wanted.topic;
        }

        return check_distinct(topics, n, ret_error);
}

int definition_next_topic(const Definition *definition, size_t *cursor, Arena *arena, TopicWanted *ret) {
        Slice element;
        int r;

        if (!scan_next(slice_of(definition->subscribed_topics), cursor, &element))
                return 0;

        r = topic_wanted_parse(element, "subscribed_topics", arena, ret, NULL);
        assert(r <= 0); /* definition_parse() had each of them before */
        return r < 0 ? r : 1;
}

/* the rest */

/* Type and key must speak of the same thing. */
static int check_settings(const Raw *raw, const Behavior *behavior, WireError *ret_error) {
        for (size_t i = 0; i < _SETTINGS_MAX; i++)
                if (raw->settings[i].data && strcmp(settings_names[i], behavior->type) != 0)
                        return wire_error(ret_error,
                                "%s: is for agents of the type \"%s\", and this one is of the type \"%s\"",
                                settings_names[i], settings_names[i], behavior->type);
        return 0;
}

/* How many calls are open is up to us only where they go to a process of its own: ours come one after the other, and
 * what they put off is not limited by number. */
static int check_concurrency(const Raw *raw, const Behavior *behavior, WireError *ret_error) {
        if (raw->max_concurrency == CONCURRENCY_UNSET || behavior->is_remote)
                return 0;
        return wire_error(ret_error,
                "max_concurrency: an agent of the type \"%s\" gets one call at a time; leave it out", behavior->type);
}

static int check_numbers(const Raw *raw, WireError *ret_error) {
        const struct {
                const char *name;
                uint64_t value;
        } positive[] = {
                { "mailbox_capacity", raw->mailbox_capacity },
                { "mailbox_bytes", raw->mailbox_bytes },
                { "quantum", raw->quantum },
                { "max_concurrency", raw->max_concurrency },
                { "restart.window_ms", raw->restart_window_ms },
                { "restart.backoff_ms", raw->restart_backoff_ms },
        };

        for (size_t i = 0; i < ELEMENTSOF(positive); i++)
                if (positive[i].value == 0)
                        return wire_error(ret_error, "%s: 0 is below the limit of 1", positive[i].name);

        return 0;
}

/* A copy; NULL stands for what was left out. Returns 0, -ENOMEM. */
static int keep(Slice text, char **ret) {
        if (!text.data)
                return 0;

        *ret = slice_dup(text);
        return *ret ? 0 : -ENOMEM;
}

static Slice settings_of(const Raw *raw, const Behavior *behavior) {
        for (size_t i = 0; i < _SETTINGS_MAX; i++)
                if (strcmp(settings_names[i], behavior->type) == 0)
                        return raw->settings[i];

        return SLICE_NONE;
}

static int definition_new(const Raw *raw, const Behavior *behavior, Definition **ret) {
        _cleanup_(definition_freep) Definition *definition = calloc(1, sizeof(*definition));

        if (!definition)
                return -ENOMEM;

        definition->agent_id = id_of(raw->agent_id);
        definition->behavior = behavior;
        definition->agent_class = agent_class_of(raw->priority);
        definition->overflow = (uint8_t)raw->overflow;
        definition->on_restore_error = (uint8_t)raw->on_restore_error;
        definition->on_checkpoint_error = (uint8_t)raw->on_checkpoint_error;
        definition->priority = raw->priority;
        definition->mailbox = (MailboxLimits){ .capacity = raw->mailbox_capacity, .bytes_max = raw->mailbox_bytes };
        definition->quantum = raw->quantum;
        definition->max_concurrency = raw->max_concurrency == CONCURRENCY_UNSET ? 1 : raw->max_concurrency;
        definition->checkpoint_interval_ms = raw->checkpoint_interval_ms;
        definition->restart.max = raw->restart_max;
        definition->restart.window_ms = raw->restart_window_ms;
        definition->restart.backoff_ms = raw->restart_backoff_ms;

        if (keep(raw->parameters, &definition->parameters) != 0 ||
                keep(settings_of(raw, behavior), &definition->settings) != 0 ||
                keep(raw->capabilities, &definition->capabilities) != 0 ||
                keep(raw->subscribed_topics, &definition->subscribed_topics) != 0)
                return -ENOMEM;

        *ret = TAKE_PTR(definition);
        return 0;
}

/* All that can be said without knowing the type. */
static int read_raw(Slice text, Raw *ret, Arena *arena, WireError *ret_error) {
        int r;

        if (text.size > DEFINITION_BYTES_MAX)
                return wire_error(ret_error, "a definition of %zu bytes is over the limit of %d", text.size,
                        DEFINITION_BYTES_MAX);

        r = scan_object(text, raw_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_keys(text, arena, ret_error);
        if (r == 0)
                r = check_known(ret->restart, "restart", restart_fields, arena, ret_error);
        if (r == 0)
                r = check_capabilities(ret->capabilities, arena, ret_error);
        if (r == 0)
                r = check_topics(ret->subscribed_topics, arena, ret_error);
        if (r == 0)
                r = check_numbers(ret, ret_error);
        return r;
}

static int find_behavior(Slice type, const Behavior *const *behaviors, const Behavior **ret, WireError *ret_error) {
        char types[128];

        *ret = behavior_find(behaviors, type);
        if (*ret)
                return 0;

        behavior_list_types(behaviors, types, sizeof(types));
        return wire_error(ret_error, "agent_type: \"%.*s\" is none of %s", SLICE_ARG(type), types);
}

int definition_parse(Slice text, const Behavior *const *behaviors, Definition **ret, WireError *ret_error) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        _cleanup_(arena_clear) Arena arena = {};
        Raw raw = {
                .overflow = OVERFLOW_REJECT,
                .on_restore_error = ON_RESTORE_ERROR_FAIL,
                .on_checkpoint_error = ON_CHECKPOINT_ERROR_RETRY,
                .priority = PRIORITY_DEFAULT,
                .mailbox_capacity = 1000,
                .mailbox_bytes = 4 * 1024 * 1024,
                .quantum = 64,
                .max_concurrency = CONCURRENCY_UNSET,
                .checkpoint_interval_ms = 5000,
                .restart_max = 5,
                .restart_window_ms = 60 * 1000,
                .restart_backoff_ms = 200,
        };
        const Behavior *behavior = NULL;
        BehaviorStart start;
        int r;

        r = read_raw(text, &raw, &arena, ret_error);
        if (r == 0)
                r = find_behavior(raw.agent_type, behaviors, &behavior, ret_error);
        if (r == 0)
                r = check_settings(&raw, behavior, ret_error);
        if (r == 0)
                r = check_concurrency(&raw, behavior, ret_error);
        if (r == 0)
                r = definition_new(&raw, behavior, &definition);
        if (r != 0)
                return r;

        start = definition_start(definition);
        r = behavior->check ? behavior->check(&start, ret_error) : 0;
        if (r != 0)
                return r;

        *ret = TAKE_PTR(definition);
        return 0;
}

int definition_copy(const Definition *definition, Definition **ret) {
        _cleanup_(definition_freep) Definition *copy = malloc(sizeof(*copy));

        if (!copy)
                return -ENOMEM;
        *copy = *definition;
        copy->is_again = true;
        copy->parameters = copy->settings = copy->capabilities = copy->subscribed_topics = NULL;
        if (keep(slice_of(definition->parameters), &copy->parameters) != 0 ||
                keep(slice_of(definition->settings), &copy->settings) != 0 ||
                keep(slice_of(definition->capabilities), &copy->capabilities) != 0 ||
                keep(slice_of(definition->subscribed_topics), &copy->subscribed_topics) != 0)
                return -ENOMEM;

        *ret = TAKE_PTR(copy);
        return 0;
}

Definition *definition_free(Definition *definition) {
        if (!definition)
                return NULL;

        free(definition->subscribed_topics);
        free(definition->capabilities);
        free(definition->settings);
        free(definition->parameters);
        free(definition);
        return NULL;
}

BehaviorStart definition_start(const Definition *definition) {
        return (BehaviorStart){
                .behavior = definition->behavior,
                .agent_id = id_slice(&definition->agent_id),
                .parameters = slice_of(definition->parameters),
                .settings = slice_of(definition->settings),
                .max_concurrency = definition->max_concurrency,
        };
}
