/* SPDX-License-Identifier: MIT */

/*
 * An application message (docs/protocol.md): any bytes, with the envelope in headers. Who sent it is not ours to say:
 * runtimes write that, about agents.
 *
 * Without --wait there is no reply subject, so nobody takes it for a request; the price is that the server does not
 * say whether anybody listens.
 */

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/exchange.h"
#include "ctl/fields.h"
#include "proto/emit.h"
#include "proto/subject.h"

#define TTL_DEFAULT "16"
#define TTL_MAX 255
#define TEXT_BYTES_MAX 256 /* what receivers take in such a header */

typedef struct Options {
        bool wait;
        const char *thread, *correlation_id, *reply_to;
        uint64_t ttl;
        TextList headers;
} Options;

static const Option options[] = {
        { .name = "wait",
                .letter = 'w',
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, wait),
                .help = "Make it a request: wait for the first answer and print it" },
        { .name = "thread",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, thread),
                .value = "ID",
                .help = "The conversation; answers go to thread.ID.reply" },
        { .name = "correlation-id",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, correlation_id),
                .value = "ID",
                .help = "Else it is the thread's" },
        { .name = "reply-to",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, reply_to),
                .value = "SUBJECT",
                .help = "Where answers are wanted; not with --wait" },
        { .name = "ttl",
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, ttl),
                .value = "N",
                .help = "Agents pass it on so often at most",
                .fallback = TTL_DEFAULT,
                .max = TTL_MAX },
        { .name = "header",
                .letter = 'H',
                .kind = OPTION_LIST,
                .offset = offsetof(Options, headers),
                .value = "NAME:VALUE",
                .help = "Another header; may be given again" },
        {},
};

static const Argument arguments[] = {
        { .name = "TOPIC", .help = "A NATS subject, as thread.t1.broadcast or agent.greeter.replies" },
        { .name = "PAYLOAD",
                .help = "Text, @FILE, or - for standard input, as it is; nothing when left out",
                .words = WORD_FILE,
                .is_optional = true },
        {},
};

static bool is_below(const char *subject, const char *prefix) {
        const size_t n = strlen(prefix);

        return strncmp(subject, prefix, n) == 0 && (subject[n] == '.' || subject[n] == '\0');
}

static CtlExit check_topic(const Ctl *ctl, const char *topic) {
        const char *prefix = ctl->settings.daemon.subject_prefix;

        if (!subject_is_valid(slice_of(topic)))
                return ctl_fail(ctl, CTL_EXIT_USAGE,
                        "TOPIC: \"%.100s\" is no subject that can be sent to: tokens with dots between them, no "
                        "spaces, "
                        "no wildcards",
                        topic);
        if (is_below(topic, prefix))
                return ctl_fail(ctl, CTL_EXIT_USAGE,
                        "TOPIC: %.150s is below %s., where dispatchers and runtimes talk; `compozyctl trigger` "
                        "triggers "
                        "an agent",
                        topic, prefix);
        if (topic[0] == '$')
                return ctl_fail(ctl, CTL_EXIT_USAGE, "TOPIC: %.150s belongs to NATS, no agent hears it", topic);
        return CTL_EXIT_OK;
}

static CtlExit check_text(const Ctl *ctl, const char *option, const char *text) {
        if (!text)
                return CTL_EXIT_OK;
        if (strlen(text) > TEXT_BYTES_MAX)
                return ctl_fail(
                        ctl, CTL_EXIT_USAGE, "--%s: %zu bytes, the limit is %d", option, strlen(text), TEXT_BYTES_MAX);
        for (const char *c = text; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return ctl_fail(ctl, CTL_EXIT_USAGE, "--%s: control characters can't be in it", option);
        return CTL_EXIT_OK;
}

static CtlExit check(const Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        CtlExit status = check_topic(ctl, invocation->words[0]);

        if (status == CTL_EXIT_OK)
                status = check_text(ctl, "thread", wanted->thread);
        if (status == CTL_EXIT_OK)
                status = check_text(ctl, "correlation-id", wanted->correlation_id);
        if (status == CTL_EXIT_OK)
                status = exchange_check_headers(ctl, &wanted->headers);
        if (status == CTL_EXIT_OK)
                status = exchange_check_reply_to(ctl, wanted->reply_to);
        if (status != CTL_EXIT_OK)
                return status;
        if (wanted->reply_to && wanted->wait)
                return ctl_fail(ctl, CTL_EXIT_USAGE,
                        "--reply-to sends answers elsewhere, so --wait would wait for "
                        "nothing");
        return CTL_EXIT_OK;
}

/* the answer */

/* JSON as JSON, other text as text. NULL: it is neither. */
static json_t *payload_json(const char *data, size_t size) {
        json_t *value = json_loadb(data, size, JSON_DECODE_ANY, NULL);

        return value ? value : json_stringn(data, size);
}

static json_t *base64_json(const char *data, size_t size) {
        _cleanup_(free_charp) char *text = malloc((size + 2) / 3 * 4 + 1);

        if (!text)
                return NULL;
        (void)EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)data, (int)size);
        return json_string(text);
}

static json_t *headers_json(natsMsg *msg) {
        json_t *object = json_object();
        const char **names = NULL;
        int n = 0;

        if (natsMsgHeader_Keys(msg, &names, &n) != NATS_OK)
                return object;
        for (int i = 0; i < n; i++) {
                const char *value = NULL;

                if (natsMsgHeader_Get(msg, names[i], &value) == NATS_OK && value)
                        (void)json_object_set_new(object, names[i], json_string(value));
        }
        free((void *)names);
        return object;
}

static CtlExit print_answer_json(const Ctl *ctl, natsMsg *msg) {
        const char *data = natsMsg_GetData(msg);
        const size_t size = (size_t)natsMsg_GetDataLength(msg);
        json_t *payload = payload_json(data, size), *line;
        CtlExit status;

        line = payload ? json_pack("{s:o, s:o}", "headers", headers_json(msg), "payload", payload)
                       : json_pack(
                                 "{s:o, s:o}", "headers", headers_json(msg), "payload_base64", base64_json(data, size));
        status = line ? ctl_print_json(ctl, line) : ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        json_decref(line);
        return status;
}

static CtlExit print_answer(const Ctl *ctl, natsMsg *msg) {
        const char *data = natsMsg_GetData(msg);
        const size_t size = (size_t)natsMsg_GetDataLength(msg);
        json_t *value;

        if (ctl->global.json)
                return print_answer_json(ctl, msg);
        if (!ctl->screen.is_terminal) {
                (void)fwrite(data, 1, size, stdout);
                return CTL_EXIT_OK;
        }
        value = json_loadb(data, size, JSON_DECODE_ANY, NULL);
        if (value) {
                CtlExit status = ctl_print_json(ctl, value);

                json_decref(value);
                return status;
        }
        screen_print_lines(stdout, data, size);
        (void)fputc('\n', stdout);
        return CTL_EXIT_OK;
}

/* {"ok":false,"error":{...}} of ours, or whatever another service has to say. */
static CtlExit tell_error(const Ctl *ctl, natsMsg *msg, const char *text) {
        json_t *body = json_loadb(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), 0, NULL);
        const json_t *error = json_object_get(body, "error");
        const char *code = json_string_value(json_object_get(error, "code"));
        const char *message = json_string_value(json_object_get(error, "message"));
        CtlExit status;

        if (!code)
                (void)natsMsgHeader_Get(msg, "Nats-Service-Error-Code", &code);
        status =
                ctl_fail(ctl, CTL_EXIT_REFUSED, "%s%s%s", code ? code : "", code ? ": " : "", message ? message : text);
        json_decref(body);
        return status;
}

static CtlExit tell(const Ctl *ctl, const Exchange *answer, const char *topic) {
        char shown[SHOWN_MAX];
        const char *error = NULL;

        if (answer->kind == EXCHANGE_NOBODY)
                return ctl_fail(ctl, CTL_EXIT_NOBODY,
                        "nobody listens on %s at %s: `compozyctl agent subscriptions AGENT` lists what an agent hears",
                        topic, client_shown_url(ctl->client));
        if (answer->kind != EXCHANGE_ANSWER)
                return exchange_fail(ctl, answer);
        if (natsMsgHeader_Get(answer->message, "Nats-Service-Error", &error) == NATS_OK && error)
                return tell_error(ctl, answer->message, error);
        ctl_note(ctl, "answered after %s", show_duration(shown, answer->waited_usec));
        return print_answer(ctl, answer->message);
}

static CtlExit print_sent(const Ctl *ctl, const ExchangeLetter *letter) {
        json_t *line = json_pack("{s:s, s:I}", "subject", letter->subject, "bytes", (json_int_t)letter->size);
        CtlExit status = line ? ctl_print_json(ctl, line) : ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");

        json_decref(line);
        return status;
}

static CtlExit send_it(Ctl *ctl, const Options *wanted, const ExchangeLetter *letter) {
        _cleanup_(exchange_done) Exchange answer = {};
        char shown[SHOWN_MAX];

        if (wanted->wait) {
                exchange(ctl->client, letter, ctl->global.timeout_usec, &answer);
                return tell(ctl, &answer, letter->subject);
        }
        exchange_publish(ctl->client, letter, wanted->reply_to, ctl->global.timeout_usec, &answer);
        if (answer.kind != EXCHANGE_ANSWER)
                return exchange_fail(ctl, &answer);
        if (ctl->global.json)
                return print_sent(ctl, letter);
        ctl_note(ctl, "sent %s to %s", show_bytes(shown, letter->size), letter->subject);
        return CTL_EXIT_OK;
}

/* RFC 3339, without the quotes that JSON wants. */
static const char *timestamp(Buffer *buffer) {
        emit_timestamp_value(buffer, instant_now().real_usec);
        if (buffer->failed || buffer->size < 2)
                return NULL;
        buffer->data[buffer->size - 1] = '\0';
        return buffer->data + 1;
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        _cleanup_(free_charp) char *payload = NULL;
        _cleanup_(buffer_done) Buffer now = {};
        size_t size = 0;
        char ttl[24];
        CtlExit status = ctl_load_settings(ctl);

        if (status == CTL_EXIT_OK)
                status = check(ctl, invocation);
        if (status == CTL_EXIT_OK && invocation->words[1])
                status = ctl_read_bytes(ctl, invocation->words[1], &payload, &size);
        if (status == CTL_EXIT_OK)
                status = ctl_connect(ctl);
        if (status != CTL_EXIT_OK)
                return status;
        (void)snprintf(ttl, sizeof(ttl), "%" PRIu64, wanted->ttl);
        ctl_catch_interrupts();
        return send_it(ctl, wanted,
                &(ExchangeLetter){
                        .subject = invocation->words[0],
                        .headers = &wanted->headers,
                        .more_headers = { { "Compozy-Thread-Id", wanted->thread },
                                { "Compozy-Correlation-Id", wanted->correlation_id }, { "Compozy-Ttl", ttl },
                                { "Compozy-Timestamp", timestamp(&now) } },
                        .body = payload ? payload : "",
                        .size = size,
                });
}

const Command command_send = {
        .name = "send",
        .summary = "Send an application message to a topic, as agents and services do",
        .details = "With --wait it is a request: the first answer is printed as it came; an error that is answered has "
                   "status 6,\n"
                   "nobody there 4. Without it the message is on its way when the command ends, and nobody knows "
                   "whether anyone hears it.",
        .example = "  compozyctl send thread.t1.broadcast 'good morning' --thread t1\n"
                   "  compozyctl send agent.greeter.replies '{\"name\":\"Ada\"}' --wait",
        .arguments = arguments,
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
