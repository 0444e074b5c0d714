/* SPDX-License-Identifier: MIT */
#ifndef COMPOZY_BEHAVIOR_H
#define COMPOZY_BEHAVIOR_H

/*
 * Behaviours of agents as shared objects: the interface between compozy-runtimed and its plugins, version 1.0. A plugin
 * exports one symbol, `compozy_behavior_table`, and links with nothing of ours. docs/plugins.md explains it.
 *
 * Threads. The hooks of one agent never run at the same time, and each sees what the one before has written; those of
 * different agents do run at the same time. A hook may not block for long: other agents wait for the thread. The
 * functions of the host work only with the `call` that a hook was given, on its thread, until it returns.
 *
 * Memory. What a hook is given is the host's, and is gone when the hook returns. What a function of the host is given
 * stays the caller's: it is copied before the function returns. Nothing is ever freed on the other side.
 *
 * Faults. A plugin that crashes takes the runtime along. No C++ exception may leave a hook.
 *
 * Versions. Within a major version everything that is here stays, in its place; what a minor version adds comes at the
 * end of the structs. The host refuses a plugin of another major version, or one that needs a newer minor version.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COMPOZY_ABI_MAJOR 1
#define COMPOZY_ABI_MINOR 0

/* The minor version without which the plugin can't do. Whoever asks COMPOZY_HOST_HAS() before using what is newer may
 * define it to be lower. */
#ifndef COMPOZY_ABI_MINOR_NEEDED
#define COMPOZY_ABI_MINOR_NEEDED COMPOZY_ABI_MINOR
#endif

#define COMPOZY_ABI_MAGIC 0x435A5042u

#define COMPOZY_EXPORT __attribute__((visibility("default")))

/* Is that member there, in a struct of the host that begins with its size? */
#define COMPOZY_HAS(object, type, member) ((object)->size >= offsetof(type, member) + sizeof((object)->member))
#define COMPOZY_HOST_HAS(host, function) COMPOZY_HAS(host, compozy_host, function)

/* A run of bytes, not terminated. {NULL, 0} is absent, which is not the same as empty. */
typedef struct compozy_bytes {
        const char *data;
        size_t size;
} compozy_bytes;

/* What the functions of the host return, and what hooks do. */
enum {
        COMPOZY_OK = 0,
        COMPOZY_E_REFUSED = -1, /* hooks: it can't be done; fail() said why */
        COMPOZY_E_STATE = -2,   /* init(): it can't make anything of this state */
        COMPOZY_E_INVALID = -3, /* host: an argument is absent or out of its grammar */
        COMPOZY_E_LIMIT = -4,   /* host: an argument is too large, or there are too many wishes in this call */
        COMPOZY_E_MEMORY = -5,  /* memory is out */
        COMPOZY_E_NOT_NOW = -6  /* host: not in this hook, not with this kind of message, not outside of the call */
};

/* Limits, in bytes unless it says otherwise. The runtime's configuration may set lower ones: what passes those fails
 * later, with an answer or a line in the log. */
#define COMPOZY_BYTES_MAX (64 * 1024 * 1024) /* of an output, a state, and of all that one call wishes */
#define COMPOZY_SENTENCE_MAX 4096            /* of what fail(), reply_error() and log() are told */
#define COMPOZY_SUBJECT_MAX 1024             /* of what is published to */
#define COMPOZY_TOPIC_MAX 255                /* of what is subscribed to, and of a queue */
#define COMPOZY_KEY_MAX 255                  /* of an idempotency key */
#define COMPOZY_HEADERS_MAX 64               /* number of headers */
#define COMPOZY_HEADERS_BYTES_MAX 16384      /* of all headers of one message */
#define COMPOZY_WISHES_MAX 1024              /* number of wishes in one call */
#define COMPOZY_DELAY_USEC_MAX (UINT64_C(365) * 24 * 60 * 60 * 1000000)

typedef struct compozy_call compozy_call;
typedef struct compozy_host compozy_host;

/* What a message is. A plugin must take kinds that it does not know calmly: return without a word. */
enum {
        COMPOZY_TRIGGER = 1, /* a task: the output is its result; input: one JSON value, "null" if there was none */
        COMPOZY_TOPIC = 2,  /* published to a topic: input is any bytes; the output, if any, goes to who waits for it */
        COMPOZY_ANSWER = 3, /* to what was asked with `token`: input is the answer, or with `error` the sentence */
        COMPOZY_TIMER = 4,  /* the timer `token` is due */
        COMPOZY_RESUME = 5  /* a trigger or a topic's message (then there is a `topic`) again that was deferred */
};

typedef struct compozy_message {
        uint32_t size; /* of this struct, as the host has it */
        uint32_t kind;
        uint64_t id;    /* for reply() and reply_error(); unique for the life of the runtime's process */
        uint64_t token; /* ANSWER, TIMER: as it was given */
        uint64_t attempt;
        compozy_bytes agent_id;
        compozy_bytes exec_id; /* TRIGGER */
        compozy_bytes topic;   /* TOPIC, and RESUME of one: the subject it was published on */
        compozy_bytes input;
        const char *error; /* ANSWER: a code like "TIMEOUT", see docs/protocol.md; NULL: it is an answer */

        /* the envelope: what was in the headers, absent where nothing was */
        compozy_bytes thread_id, correlation_id, sender, reply_to, timestamp, traceparent, tracestate;
        uint64_t ttl, hop;
        uint32_t is_request; /* somebody waits for an answer */
        uint32_t reserved;
} compozy_message;

typedef struct compozy_start {
        uint32_t size; /* of this struct, as the host has it */
        uint32_t reserved;
        compozy_bytes agent_id;
        compozy_bytes parameters; /* the JSON object of the definition; absent: none */
        compozy_bytes state;      /* what checkpoint() gave last; absent: a new agent */
} compozy_start;

/* what the plugin may ask of the host */

typedef struct compozy_header {
        compozy_bytes name, value;
} compozy_header;

/* How urgent a topic's messages are: realtime ones come first, and are dropped when late; the default is batched. */
enum { COMPOZY_QOS_DEFAULT, COMPOZY_QOS_REALTIME, COMPOZY_QOS_BATCHED, COMPOZY_QOS_BACKGROUND };

/* How grave a line of the log is: the levels of syslog. */
enum { COMPOZY_LOG_ERROR = 3, COMPOZY_LOG_WARNING, COMPOZY_LOG_NOTICE, COMPOZY_LOG_INFO, COMPOZY_LOG_DEBUG };

struct compozy_call {
        const compozy_host *host; /* what follows is the host's */
};

/*
 * Each returns COMPOZY_OK, or one of COMPOZY_E_... and has then done nothing, unless it says otherwise.
 *
 * The first four end a message; of several in one call the last one counts. A trigger that was ended by none of them
 * has the output null, and a topic's message no answer. Of answers and timers only fail() can say something: it leaves
 * a line in the log.
 *
 * The others are wishes. They are carried out in order when the hook has returned, whatever it returned, except that
 * those of a failed init() are dropped, and checkpoint() can have none. A `token` is the plugin's own name for the
 * matter: what is asked is answered with a COMPOZY_ANSWER of that token, unless the agent is stopped before; publish(),
 * subscribe(), unsubscribe() and checkpoint() are too, if the token is not 0. What is published or asked inherits
 * thread, correlation, ttl, hop and trace of the message being handled.
 */
struct compozy_host {
        uint32_t size; /* of this struct, as the host has it */
        uint32_t abi_major, abi_minor;
        uint32_t reserved;

        /* handle(): of a trigger one JSON value; checkpoint(): the state. One that is too large, or that memory does
         * not suffice for, fails the message. */
        int (*output)(compozy_call *call, compozy_bytes bytes);
        /* Every hook. `code`: one of the names in docs/protocol.md, NULL or any other: INTERNAL. A sentence that is too
         * long is cut. */
        int (*fail)(compozy_call *call, const char *code, compozy_bytes sentence);
        /* The same message again, as COMPOZY_RESUME, after that time. */
        int (*defer)(compozy_call *call, uint64_t usec);
        /* It is ended by reply() or reply_error() in a later call, with its id. */
        int (*keep_open)(compozy_call *call);

        int (*reply)(compozy_call *call, uint64_t message_id, compozy_bytes output);
        int (*reply_error)(compozy_call *call, uint64_t message_id, const char *code, compozy_bytes sentence);

        int (*publish)(compozy_call *call, compozy_bytes topic, compozy_bytes payload, const compozy_header *headers,
                size_t n_headers, uint64_t token);

        /* `timeout_usec` 0: the runtime's default */
        int (*ask)(compozy_call *call, compozy_bytes agent_id, compozy_bytes payload, uint64_t timeout_usec,
                uint64_t token);
        /* `key` makes it idempotent; absent: the runtime makes one */
        int (*invoke)(compozy_call *call, compozy_bytes capability, compozy_bytes input, compozy_bytes key,
                uint64_t timeout_usec, uint64_t token);
        /* `input`: one JSON value, absent: null */
        int (*trigger)(
                compozy_call *call, compozy_bytes agent_id, compozy_bytes input, uint64_t timeout_usec, uint64_t token);

        int (*subscribe)(compozy_call *call, compozy_bytes topic, compozy_bytes queue /* or absent */, uint32_t qos,
                uint64_t token);
        int (*unsubscribe)(compozy_call *call, compozy_bytes topic, uint64_t token);

        /* A timer of that token is set anew. It fires once. */
        int (*set_timer)(compozy_call *call, uint64_t token, uint64_t usec);
        int (*cancel_timer)(compozy_call *call, uint64_t token);

        int (*checkpoint)(compozy_call *call, uint64_t token); /* soon, instead of at its time */
        int (*stop)(compozy_call *call);                       /* this agent, when what it holds is done */

        /* `fields`: a JSON object that goes along, or absent */
        int (*log)(compozy_call *call, int level, compozy_bytes sentence, compozy_bytes fields);
};

/* what the plugin is */

typedef struct compozy_behavior {
        /* COMPOZY_BEHAVIOR_HEAD; the same in all versions there will ever be */
        uint32_t magic, size, abi_major, abi_minor;

        const char *name; /* the file's, without ".so": 1-64 of A-Z a-z 0-9 _ - */
        const char *help; /* one line, or NULL */

        /* Makes an agent: what `ret_agent` is set to is given to the other hooks (NULL will do, for one without a
         * memory). COMPOZY_OK, COMPOZY_E_REFUSED, COMPOZY_E_STATE, COMPOZY_E_MEMORY; then stop() is not called. */
        int (*init)(compozy_call *call, const compozy_start *start, void **ret_agent);

        /* Frees it. The last call. */
        void (*stop)(void *agent);

        void (*handle)(void *agent, compozy_call *call, const compozy_message *message);

        /* Gives what init() is to find in `state` to output(). NULL: it keeps no state. COMPOZY_OK, COMPOZY_E_REFUSED,
         * COMPOZY_E_MEMORY. Called between two messages, at the definition's checkpoint_interval_ms. */
        int (*checkpoint)(void *agent, compozy_call *call);
} compozy_behavior;

#define COMPOZY_BEHAVIOR_HEAD \
        COMPOZY_ABI_MAGIC, (uint32_t)sizeof(compozy_behavior), COMPOZY_ABI_MAJOR, COMPOZY_ABI_MINOR_NEEDED

/*
 * The one symbol of a plugin:
 *
 *     const compozy_behavior compozy_behavior_table = { COMPOZY_BEHAVIOR_HEAD, "name", "help", init, stop, handle,
 *             checkpoint };
 */
COMPOZY_EXPORT extern const compozy_behavior compozy_behavior_table;

static inline compozy_bytes compozy_bytes_of(const void *data, size_t size) {
        compozy_bytes bytes;

        bytes.data = (const char *)data;
        bytes.size = size;
        return bytes;
}

/* Of a terminated text; of NULL: absent. */
static inline compozy_bytes compozy_text(const char *text) {
        size_t size = 0;

        while (text && text[size])
                size++;
        return compozy_bytes_of(text, size);
}

static inline compozy_bytes compozy_absent(void) {
        return compozy_bytes_of(NULL, 0);
}

#ifdef __cplusplus
}
#endif

#endif
