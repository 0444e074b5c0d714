/* SPDX-License-Identifier: MIT */

/*
 * One trigger goes through ctl/exchange.h, many through ctl/load.h (ctl/trigger_many.c).
 *
 * Its exec_id is made up here, so it can be printed before anything has happened, and asked about with `why`. Without
 * --wait the trigger still has a reply subject of ours: that nobody listens is the server's answer to it, and comes
 * before our flush is over. Most refusals come within a millisecond too, so they are waited for a moment.
 */

#include <inttypes.h>
#include <string.h>

#include "common/rng.h"
#include "ctl/commands.h"
#include "ctl/exchange.h"
#include "ctl/fields.h"
#include "ctl/hints.h"
#include "ctl/load_answer.h"
#include "ctl/trigger_many.h"
#include "proto/subject.h"

#define MOMENT_USEC (100 * USEC_PER_MSEC) /* for an early refusal, without --wait */
#define MARGIN_MAX_USEC (50 * USEC_PER_MSEC)
#define DEADLINE_MAX_USEC (UINT64_C(86400) * USEC_PER_SEC)
#define COUNT_MAX UINT64_C(1000000000000)
#define CONCURRENCY_MAX 65535
#define RATE_MAX 10000000

typedef struct Options {
        bool wait, is_numbered;
        const char *workflow, *exec_id, *reply_to;
        uint64_t priority, deadline_usec, count, concurrency, rate;
        unsigned retry;
        TextList labels, env, headers;
} Options;

static const char *const retries[] = { "unstarted", "never", "always", NULL };

#define OPTION(name_, kind_, field, value_, help_, ...)                                                           \
        {                                                                                                         \
                .name = name_, .kind = kind_, .offset = offsetof(Options, field), .value = value_, .help = help_, \
                ##__VA_ARGS__                                                                                     \
        }

static const Option options[] = {
        OPTION("wait", OPTION_FLAG, wait, NULL, "Wait for the result and print its output", .letter = 'w'),
        OPTION("label", OPTION_LIST, labels, "NAME=VALUE", "Only on runtimes that have it; may be given again",
                .letter = 'l'),
        OPTION("priority", OPTION_NUMBER, priority, "N", "0 to 100, higher ones go first", .letter = 'p',
                .fallback = "50", .max = 100),
        OPTION("retry", OPTION_CHOICE, retry, "WHEN", "Placed again after its runtime was lost",
                .fallback = "unstarted", .choices = retries),
        OPTION("deadline", OPTION_DURATION, deadline_usec, "DURATION", "By when it must be done; else --timeout",
                .min = USEC_PER_MSEC, .max = DEADLINE_MAX_USEC),
        OPTION("workflow", OPTION_TEXT, workflow, "ID", "The workflow that it belongs to", .fallback = "adhoc"),
        OPTION("exec-id", OPTION_TEXT, exec_id, "ID", "The execution's id, instead of a new one"),
        OPTION("env", OPTION_LIST, env, "NAME=VALUE", "For context.env; may be given again", .letter = 'e'),
        OPTION("reply-to", OPTION_TEXT, reply_to, "SUBJECT", "Where the result goes; not with --wait or --count"),
        OPTION("header", OPTION_LIST, headers, "NAME:VALUE", "traceparent, tracestate and Compozy-... pass through",
                .letter = 'H'),
        OPTION("count", OPTION_NUMBER, count, "N", "So many triggers, and a summary of how they went", .letter = 'n',
                .fallback = "1", .min = 1, .max = COUNT_MAX),
        OPTION("concurrency", OPTION_NUMBER, concurrency, "N", "With --count: so many at once at most",
                .fallback = "64", .min = 1, .max = CONCURRENCY_MAX),
        OPTION("rate", OPTION_NUMBER, rate, "N", "With --count: so many per second at most", .min = 1, .max = RATE_MAX),
        OPTION("number", OPTION_FLAG, is_numbered, NULL, "With --count: the input gets a member \"n\", from 1 on"),
        {},
};

static const Argument arguments[] = {
        { .name = "AGENT", .help = "Its id", .words = WORD_AGENT },
        { .name = "INPUT",
                .help = "JSON, @FILE, or - for standard input; none when left out",
                .words = WORD_FILE,
                .is_optional = true },
        {},
};

/* what is asked for */

static CtlExit check(const Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        CtlExit status = ctl_check_id(ctl, "AGENT", invocation->words[0]);

        if (status == CTL_EXIT_OK)
                status = ctl_check_id(ctl, "--workflow", wanted->workflow);
        if (status == CTL_EXIT_OK)
                status = ctl_check_id(ctl, "--exec-id", wanted->exec_id);
        if (status == CTL_EXIT_OK)
                status = exchange_check_headers(ctl, &wanted->headers);
        if (status == CTL_EXIT_OK)
                status = exchange_check_reply_to(ctl, wanted->reply_to);
        if (status != CTL_EXIT_OK)
                return status;
        if (wanted->reply_to && (wanted->wait || wanted->count > 1))
                return ctl_fail(ctl, CTL_EXIT_USAGE,
                        "--reply-to sends the result elsewhere, so --wait and --count "
                        "would wait for nothing");
        if (wanted->exec_id && wanted->count > 1)
                return ctl_fail(ctl, CTL_EXIT_USAGE, "--exec-id names one execution, --count %" PRIu64 " makes more",
                        wanted->count);
        return CTL_EXIT_OK;
}

/* A little below the time that we wait, so that the named error of whoever gives up on it comes first. */
static uint64_t deadline_ms(const Ctl *ctl, const Options *wanted) {
        const uint64_t timeout = ctl->global.timeout_usec;
        const uint64_t usec =
                wanted->deadline_usec > 0 ? wanted->deadline_usec : timeout - MIN_OF(timeout / 10, MARGIN_MAX_USEC);

        return MAX_OF(usec / USEC_PER_MSEC, 1);
}

static CtlExit make_body(const Ctl *ctl, const Invocation *invocation, TriggerBody *ret) {
        const Options *wanted = invocation->options;
        TriggerWish wish = {
                .agent_id = invocation->words[0],
                .workflow_id = wanted->workflow,
                .reply_to = wanted->reply_to,
                .deadline_ms = deadline_ms(ctl, wanted),
                .retry = retries[wanted->retry],
                .priority = wanted->priority,
                .labels = &wanted->labels,
                .env = &wanted->env,
                .is_numbered = wanted->is_numbered,
        };
        _cleanup_(free_charp) char *text = NULL;
        size_t size = 0;
        CtlExit status = CTL_EXIT_OK;

        if (invocation->words[1])
                status = ctl_read_json_text(ctl, invocation->words[1], &wish.input, &text, &size);
        wish.input_text = (Slice){ text, size };
        if (status == CTL_EXIT_OK && text && !wish.input && wanted->is_numbered)
                status = ctl_fail(ctl, CTL_EXIT_USAGE, "--number: the input has a number of more than 64 bits");
        if (status == CTL_EXIT_OK)
                status = trigger_body_init(ret, ctl, &wish);
        json_decref(wish.input);
        return status;
}

/* what came of it */

static CtlExit print_success(const Ctl *ctl, const json_t *payload) {
        const json_t *output = json_object_get(json_object_get(payload, "result"), "output");

        return output ? ctl_print_json(ctl, output) : CTL_EXIT_OK;
}

static void tell_how_it_went(const Ctl *ctl, const json_t *result, const char *status) {
        const json_t *payload = json_object_get(result, "payload"), *runtime = json_object_get(result, "agent_runtime");
        char text[512], shown[1024], duration[SHOWN_MAX];

        (void)snprintf(text, sizeof(text), "%s in %s%s%s (%s)", status,
                show_duration(duration, field_scaled(payload, "duration_ms", USEC_PER_MSEC)), runtime ? " on " : "",
                runtime ? field_text(runtime, "runtime_id") : "",
                field_text(json_object_get(result, "agent"), "exec_id"));
        (void)screen_text(shown, sizeof(shown), text);
        ctl_note(ctl, "%s", shown);
}

static void tell_details(const Ctl *ctl, const json_t *details) {
        _cleanup_(free_charp) char *text = json_object_size(details) > 0 ? ctl_json_text(details, JSON_COMPACT) : NULL;
        char shown[2048];

        if (!text)
                return;
        (void)screen_text(shown, sizeof(shown), text);
        ctl_note(ctl, "details: %s", shown);
}

static CtlExit tell_error(
        const Ctl *ctl, const json_t *result, const char *status, const Invocation *invocation, const char *exec_id) {
        const json_t *payload = json_object_get(result, "payload");
        const json_t *error = json_object_get(json_object_get(payload, "result"), "error");
        const json_t *details = json_object_get(error, "details");
        const bool is_agents = strcmp(status, "AGENT_ERROR") == 0;
        const char *code = field_text(error, "code");

        (void)ctl_fail(ctl, is_agents ? CTL_EXIT_AGENT_ERROR : CTL_EXIT_REFUSED, "%s%s: %s",
                is_agents ? "the agent reported an error: " : "", code, field_text(error, "message"));
        tell_details(ctl, details);
        tell_how_it_went(ctl, result, status);
        if (!is_agents)
                hint_show(ctl, code, invocation->words[0], exec_id);
        return is_agents ? CTL_EXIT_AGENT_ERROR : CTL_EXIT_REFUSED;
}

/* jansson has no place for its numbers, such as 12345678901234567890: what it can't show as data is shown as it came.
 */
static CtlExit tell_large_numbers(const Ctl *ctl, Slice body, const char *why, bool is_short) {
        const Slice output = load_answer_output(body);

        if (!output.data)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "the answer can't be read: %s", why);
        return is_short ? CTL_EXIT_OK : ctl_print_text(ctl, ctl->global.json ? body : output);
}

/* Prints a result message. `is_short`: nobody waited for it, so only what went wrong is told. */
static CtlExit tell_result(
        const Ctl *ctl, natsMsg *msg, const Invocation *invocation, const char *exec_id, bool is_short) {
        const Slice body = { natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg) };
        json_error_t error;
        json_t *result = json_loadb(body.data, body.size, JSON_ALLOW_NUL, &error);
        const json_t *payload = json_object_get(result, "payload");
        const char *status = json_string_value(json_object_get(payload, "status"));
        CtlExit exit_status = CTL_EXIT_OK;

        if (!result && json_error_code(&error) == json_error_numeric_overflow)
                return tell_large_numbers(ctl, body, error.text, is_short);
        if (!status) {
                json_decref(result);
                return ctl_fail(
                        ctl, CTL_EXIT_FAILURE, "the answer is no AgentExecutionResult: it has no payload.status");
        }
        if (ctl->global.json && !is_short) {
                exit_status = ctl_print_json(ctl, result);
                if (exit_status == CTL_EXIT_OK && strcmp(status, "SUCCESS") != 0)
                        exit_status = strcmp(status, "AGENT_ERROR") == 0 ? CTL_EXIT_AGENT_ERROR : CTL_EXIT_REFUSED;
        } else if (strcmp(status, "SUCCESS") == 0) {
                exit_status = is_short ? CTL_EXIT_OK : print_success(ctl, payload);
                tell_how_it_went(ctl, result, status);
        } else {
                exit_status = tell_error(ctl, result, status, invocation, exec_id);
        }
        json_decref(result);
        return exit_status;
}

static CtlExit print_id(const Ctl *ctl, const char *exec_id) {
        json_t *line;
        CtlExit status;

        if (!ctl->global.json) {
                (void)printf("%s\n", exec_id);
                return CTL_EXIT_OK;
        }
        line = json_pack("{s:s}", "agent_exec_id", exec_id);
        status = line ? ctl_print_json(ctl, line) : ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        json_decref(line);
        return status;
}

static CtlExit trigger_once(
        Ctl *ctl, const Invocation *invocation, const char *subject, const TriggerBody *body, const char *exec_id) {
        const Options *wanted = invocation->options;
        _cleanup_(exchange_done) Exchange answer = {};
        _cleanup_(buffer_done) Buffer text = {};
        ExchangeLetter letter = { .subject = subject, .headers = &wanted->headers };
        CtlExit status = CTL_EXIT_OK;

        trigger_body_write(body, slice_of(exec_id), 1, &text);
        if (text.failed)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        letter.body = text.data;
        letter.size = text.size;
        exchange(ctl->client, &letter,
                wanted->wait ? ctl->global.timeout_usec : MIN_OF(MOMENT_USEC, ctl->global.timeout_usec), &answer);
        switch (answer.kind) {
        case EXCHANGE_ANSWER:
                if (!wanted->wait)
                        status = print_id(ctl, exec_id);
                return status == CTL_EXIT_OK
                               ? tell_result(ctl, answer.message, invocation, exec_id, /* is_short= */ !wanted->wait)
                               : status;
        case EXCHANGE_NOBODY:
                return ctl_fail_nobody(ctl, ANY_DISPATCHER, subject);
        case EXCHANGE_SILENCE:
                if (!wanted->wait)
                        return print_id(ctl, exec_id);
                status = exchange_fail(ctl, &answer);
                hint_show(ctl, "DEADLINE_EXCEEDED", invocation->words[0], exec_id);
                return status;
        case EXCHANGE_INTERRUPTED:
                ctl_note(ctl, "interrupted; %s goes on, `compozyctl why %s` says where", exec_id, exec_id);
                return CTL_EXIT_INTERRUPTED;
        case EXCHANGE_REFUSED:
        case EXCHANGE_BROKEN:
                break;
        }
        return exchange_fail(ctl, &answer);
}

static CtlExit trigger_many(
        Ctl *ctl, const Invocation *invocation, const char *subject, const TriggerBody *body, const char *exec_id) {
        const Options *wanted = invocation->options;

        return trigger_many_run(ctl, &(TriggerMany){
                                             .subject = subject,
                                             .agent_id = invocation->words[0],
                                             .exec_id = exec_id,
                                             .body = body,
                                             .headers = &wanted->headers,
                                             .count = wanted->count,
                                             .concurrency = wanted->concurrency,
                                             .rate = wanted->rate,
                                     });
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        _cleanup_(trigger_body_done) TriggerBody body = {};
        _cleanup_(buffer_done) Buffer subject = {};
        CtlExit status = check(ctl, invocation);
        Rng rng;
        Id id;

        if (status == CTL_EXIT_OK)
                status = make_body(ctl, invocation, &body);
        if (status == CTL_EXIT_OK)
                status = ctl_connect(ctl);
        if (status != CTL_EXIT_OK)
                return status;
        if (rng_seed_from_system(&rng) < 0)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "no randomness for an id");
        id = wanted->exec_id ? id_of(slice_of(wanted->exec_id)) : rng_id(&rng);
        subject_build(&subject, slice_of(client_prefix(ctl->client)), SUBJECT_TRIGGER, slice_of(wanted->workflow),
                slice_of(invocation->words[0]));
        buffer_append_char(&subject, '\0');
        if (subject.failed)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        ctl_catch_interrupts();
        return (wanted->count > 1 ? trigger_many : trigger_once)(ctl, invocation, subject.data, &body, id.text);
}

const Command command_trigger = {
        .name = "trigger",
        .summary = "Trigger an agent, once or many times",
        .details = "Without --wait it prints the execution's id once a dispatcher has it, and tells of a refusal that "
                   "comes at once;\n"
                   "with it, the output. The status is 6 when the trigger was not run to an end, 7 when the agent "
                   "reported an error,\n"
                   "4 when no dispatcher listens. --count waits for all, and its status is that of the worst.",
        .example = "  compozyctl trigger greeter '{\"name\":\"Ada\"}' --wait\n"
                   "  compozyctl trigger greeter @order.json --priority 80 --label zone=a --timeout 2m --wait\n"
                   "  compozyctl trigger greeter --count 100000 --concurrency 256 --rate 5000",
        .arguments = arguments,
        .options = options,
        .options_size = sizeof(Options),
        .timeout = "30s",
        .run = run,
};
