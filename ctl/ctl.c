/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/context.h"
#include "ctl/ctl.h"
#include "proto/emit.h"
#include "proto/id.h"
#include "proto/scan.h"

#define LIST_MAX 1000000                   /* what a hostile peer can make us keep */
#define INPUT_BYTES_MAX (64 * 1024 * 1024) /* more than any server takes in a message */

static const char *const colour_choices[] = { "auto", "always", "never", NULL };

#define GLOBAL(name_, letter_, kind_, field, value_, help_, ...)                                           \
        {                                                                                                  \
                .name = name_, .letter = letter_, .kind = kind_, .offset = offsetof(GlobalOptions, field), \
                .value = value_, .help = help_, ##__VA_ARGS__                                              \
        }

const Option global_options[] = {
        GLOBAL("server", 's', OPTION_TEXT, server, "URL", "NATS servers, separated by commas"),
        GLOBAL("context", 'c', OPTION_TEXT, context, "NAME", "Settings saved under a name", .words = WORD_CONTEXT),
        GLOBAL("option", 'o', OPTION_LIST, settings, "KEY=VALUE", "A setting, as nats.tls_ca=FILE"),
        GLOBAL("timeout", 't', OPTION_DURATION, timeout_usec, "DURATION", "How long to wait for an answer",
                .fallback = "5s", .min = USEC_PER_MSEC, .max = UINT64_C(86400) * USEC_PER_SEC),
        GLOBAL("json", 'j', OPTION_FLAG, json, NULL, "Print JSON, and errors as JSON on stderr"),
        GLOBAL("quiet", 'q', OPTION_FLAG, quiet, NULL, "No notes and no progress on stderr"),
        GLOBAL("color", 0, OPTION_CHOICE, colour, "WHEN", "Colours", .fallback = "auto", .choices = colour_choices),
        {},
};

/* saying things: behind what was printed, where both go to one place */

static void say_error(const Ctl *ctl, const char *code, const char *text, const json_t *details) {
        (void)fflush(stdout);
        if (ctl->global.json) {
                json_t *line = json_pack("{s:{s:s, s:s%, s:O*}}", "error", "code", code, "message", text, strlen(text),
                        "details", details);

                if (line)
                        (void)json_dumpf(line, stderr, JSON_COMPACT);
                (void)fputc('\n', stderr);
                json_decref(line);
                return;
        }
        char shown[2048];

        (void)screen_text(shown, sizeof(shown), text);
        (void)fprintf(stderr, "compozyctl: %s\n", shown);
}

CtlExit ctl_fail(const Ctl *ctl, CtlExit status, const char *format, ...) {
        static const char *const codes[] = {
                [CTL_EXIT_FAILURE] = "FAILED",
                [CTL_EXIT_USAGE] = "USAGE",
                [CTL_EXIT_UNREACHABLE] = "UNREACHABLE",
                [CTL_EXIT_NOBODY] = "NOBODY_LISTENS",
                [CTL_EXIT_TIMEOUT] = "NO_ANSWER",
                [CTL_EXIT_REFUSED] = "REFUSED",
                [CTL_EXIT_AGENT_ERROR] = "AGENT_ERROR",
        };
        char text[2048];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        say_error(ctl, (size_t)status < ELEMENTSOF(codes) && codes[status] ? codes[status] : "FAILED", text, NULL);
        return status;
}

CtlExit ctl_fail_nobody(const Ctl *ctl, Peer peer, const char *subject) {
        const char *url = client_shown_url(ctl->client);

        switch (peer.kind) {
        case PEER_RUNTIME:
                return ctl_fail(ctl, CTL_EXIT_NOBODY,
                        "no runtime %s is listening on %s at %s: is its compozy-runtimed running? `compozyctl "
                        "runtimes` lists those that are",
                        peer.id, subject, url);
        case PEER_DISPATCHER:
                return ctl_fail(ctl, CTL_EXIT_NOBODY,
                        "no dispatcher %s is listening on %s at %s: `compozyctl status` lists those that are", peer.id,
                        subject, url);
        case PEER_DISPATCHERS:
                break;
        }
        return ctl_fail(ctl, CTL_EXIT_NOBODY,
                "no dispatcher is listening on %s at %s: is compozy-dispatcherd running, with the same "
                "nats.subject_prefix?",
                subject, url);
}

CtlExit ctl_fail_answer(const Ctl *ctl, const Answer *answer) {
        char text[1024];

        switch (answer->kind) {
        case ANSWER_NOBODY:
                return ctl_fail_nobody(ctl, answer->peer, answer->subject);
        case ANSWER_TIMEOUT:
                if (ctl_is_interrupted())
                        return CTL_EXIT_INTERRUPTED;
                return ctl_fail(ctl, CTL_EXIT_TIMEOUT, "%s; --timeout gives it longer", answer->text);
        case ANSWER_FORBIDDEN:
                return ctl_fail(ctl, CTL_EXIT_UNREACHABLE, "%s", answer->text);
        case ANSWER_ERROR:
                (void)snprintf(text, sizeof(text), "%s: %s", answer->code, answer->text);
                say_error(ctl, answer->code, ctl->global.json ? answer->text : text,
                        json_object_get(answer->error, "details"));
                return CTL_EXIT_REFUSED;
        case ANSWER_BROKEN:
        case ANSWER_RESULT:
                break;
        }
        return ctl_fail(ctl, CTL_EXIT_FAILURE, "%s", answer->text);
}

void ctl_note(const Ctl *ctl, const char *format, ...) {
        char raw[2048], shown[4096];
        va_list arguments;

        if (ctl->global.quiet || ctl->global.json)
                return;
        (void)fflush(stdout);
        va_start(arguments, format);
        (void)vsnprintf(raw, sizeof(raw), format, arguments);
        va_end(arguments);
        (void)screen_text(shown, sizeof(shown), raw);
        (void)fprintf(stderr, "%s\n", shown);
}

void ctl_say(const char *format, ...) {
        char raw[2048], shown[4096];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(raw, sizeof(raw), format, arguments);
        va_end(arguments);
        (void)screen_text(shown, sizeof(shown), raw);
        (void)printf("%s\n", shown);
}

CtlExit ctl_print_table(const Ctl *ctl, const Table *table) {
        return table_print(table, &ctl->screen, stdout) < 0 ? ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory")
                                                            : CTL_EXIT_OK;
}

/* jansson writes 17 digits, 0.1 as 0.10000000000000001; 15 are enough for what people write, but not for each double.
 */
char *ctl_json_text(const json_t *value, size_t flags) {
        char *text = json_dumps(value, flags | JSON_REAL_PRECISION(15));
        json_t *again = text ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;

        if (text && !json_equal(again, value)) {
                free(text);
                text = json_dumps(value, flags);
        }
        json_decref(again);
        return text;
}

CtlExit ctl_print_text(const Ctl *ctl, Slice text) {
        /* JSON escapes control characters below 0x20 only */
        if (ctl->screen.is_terminal)
                screen_print_lines(stdout, text.data, text.size);
        else
                (void)fwrite(text.data, 1, text.size, stdout);
        if (fputc('\n', stdout) == EOF)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "can't write to standard output: %s", strerror(errno));
        return CTL_EXIT_OK;
}

static CtlExit print_json(const Ctl *ctl, const json_t *value, size_t precision) {
        const size_t flags = (ctl->screen.is_terminal ? JSON_INDENT(2) : JSON_COMPACT) | JSON_ENCODE_ANY;
        _cleanup_(free_charp) char *text =
                precision > 0 ? json_dumps(value, flags | precision) : ctl_json_text(value, flags);

        if (!text)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        return ctl_print_text(ctl, slice_of(text));
}

CtlExit ctl_print_json(const Ctl *ctl, const json_t *value) {
        return print_json(ctl, value, 0);
}

CtlExit ctl_print_figures(const Ctl *ctl, const json_t *value) {
        return print_json(ctl, value, JSON_REAL_PRECISION(9));
}

/* the connection */

CtlExit ctl_load_settings(Ctl *ctl) {
        const ContextRequest request = {
                .context = ctl->global.context,
                .server = ctl->global.server,
                .options = ctl->global.settings.items,
                .n_options = ctl->global.settings.n_items,
        };
        ConfigError error = {};
        int r;

        if (ctl->settings.daemon.url)
                return CTL_EXIT_OK;
        r = context_load(&request, &ctl->settings, &error);
        if (r != 0)
                return ctl_fail(ctl, r == CONFIG_E_INVALID ? CTL_EXIT_USAGE : CTL_EXIT_FAILURE, "%s",
                        error.text[0] != '\0' ? error.text : strerror(-r));
        return CTL_EXIT_OK;
}

CtlExit ctl_connect(Ctl *ctl) {
        NatsReason why = {};
        CtlExit status = ctl_load_settings(ctl);
        int r;

        if (status != CTL_EXIT_OK || ctl->client)
                return status;
        r = client_new(&ctl->settings, ctl->global.timeout_usec, /* stay= */ true, &ctl->client, &why);
        if (r < 0)
                return ctl_fail(ctl, CTL_EXIT_UNREACHABLE, "%s", why.text[0] != '\0' ? why.text : strerror(-r));
        return CTL_EXIT_OK;
}

CtlExit ctl_ask(Ctl *ctl, Peer peer, const char *verb, json_t *body, json_t **ret_result) {
        _cleanup_(answer_done) Answer answer = {};
        CtlExit status = CTL_EXIT_OK;

        if (peer.id)
                status = ctl_check_id(ctl, peer.kind == PEER_RUNTIME ? "RUNTIME" : "DISPATCHER", peer.id);
        if (status == CTL_EXIT_OK)
                status = ctl_connect(ctl);
        if (status != CTL_EXIT_OK) {
                json_decref(body);
                return status;
        }
        client_ask(ctl->client, peer, verb, body, ctl->global.timeout_usec, &answer);
        if (answer.kind != ANSWER_RESULT)
                return ctl_fail_answer(ctl, &answer);
        if (ret_result)
                *ret_result = json_incref(answer.result);
        return CTL_EXIT_OK;
}

/* Pages are in the order of their ids. */
static bool comes_after(const json_t *next, const json_t *after) {
        return id_is_valid(slice_of(json_string_value(next))) &&
               (!json_is_string(after) || strcmp(json_string_value(next), json_string_value(after)) > 0);
}

/* No more than were asked for. */
static void cut_list(json_t *list, size_t limit) {
        while (limit > 0 && json_array_size(list) > limit)
                (void)json_array_remove(list, json_array_size(list) - 1);
}

CtlExit ctl_list(Ctl *ctl, Peer peer, const char *verb, json_t *body, const char *key, size_t limit, json_t **ret) {
        json_t *all = NULL, *page = NULL, *request = body ? body : json_object();
        CtlExit status;

        if (limit > 0)
                (void)json_object_set_new(request, "limit", json_integer((json_int_t)MIN_OF(limit, 1000)));
        for (;;) {
                json_t *items, *next;
                bool is_last;

                status = ctl_ask(ctl, peer, verb, json_incref(request), &page);
                if (status != CTL_EXIT_OK)
                        break;
                items = json_object_get(page, key);
                next = json_object_get(page, "next");
                is_last = !json_is_string(next) || json_array_size(items) == 0;
                if (json_is_string(next) && !comes_after(next, json_object_get(request, "after")))
                        status = ctl_fail(ctl, CTL_EXIT_FAILURE, "%s: the pages of the list go round in circles", verb);
                if (json_is_string(next))
                        (void)json_object_set(request, "after", next);
                if (!all)
                        all = json_incref(page);
                else
                        (void)json_array_extend(json_object_get(all, key), items);
                json_decref(page); /* and with it items and next */
                if (status == CTL_EXIT_OK && json_array_size(json_object_get(all, key)) > LIST_MAX)
                        status = ctl_fail(ctl, CTL_EXIT_FAILURE,
                                "%s: the list has more than %d elements; --limit cuts it", verb, LIST_MAX);
                if (status != CTL_EXIT_OK || is_last)
                        break;
                if (limit > 0 && json_array_size(json_object_get(all, key)) >= limit)
                        break;
        }
        json_decref(request);
        if (status != CTL_EXIT_OK) {
                json_decref(all);
                return status;
        }
        (void)json_object_del(all, "next");
        cut_list(json_object_get(all, key), limit);
        *ret = all;
        return CTL_EXIT_OK;
}

static CtlExit one_of_many(const Ctl *ctl, const char *agent_id, const json_t *places) {
        char list[512] = "";
        json_t *place;
        size_t i;

        json_array_foreach(places, i, place) {
                const char *id = json_string_value(json_object_get(place, "runtime_id"));

                (void)snprintf(
                        list + strlen(list), sizeof(list) - strlen(list), "%s%s", i > 0 ? ", " : "", id ? id : "?");
        }
        return ctl_fail(
                ctl, CTL_EXIT_USAGE, "agent %s is in several places (%s): name one with --runtime", agent_id, list);
}

CtlExit ctl_check_id(const Ctl *ctl, const char *where, const char *id) {
        if (!id || id_is_valid(slice_of(id)))
                return CTL_EXIT_OK;
        return ctl_fail(
                ctl, CTL_EXIT_USAGE, "%s: \"%.80s\" is no id: 1-64 characters of A-Z a-z 0-9 _ - are", where, id);
}

CtlExit ctl_locate(Ctl *ctl, const char *agent_id, const char *runtime_id, char **ret_runtime_id) {
        json_t *result = NULL, *places;
        const char *found;
        CtlExit status;

        status = ctl_check_id(ctl, "AGENT", agent_id);
        if (status == CTL_EXIT_OK && runtime_id)
                status = ctl_check_id(ctl, "--runtime", runtime_id);
        if (status != CTL_EXIT_OK)
                return status;
        if (runtime_id) {
                *ret_runtime_id = strdup(runtime_id);
                return *ret_runtime_id ? CTL_EXIT_OK : ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        }
        status = ctl_ask(ctl, ANY_DISPATCHER, "explain", json_pack("{s:s}", "agent_id", agent_id), &result);
        if (status != CTL_EXIT_OK)
                return status;
        places = json_object_get(result, "considered");
        found = json_string_value(json_object_get(json_array_get(places, 0), "runtime_id"));
        if (json_array_size(places) > 1)
                status = one_of_many(ctl, agent_id, places);
        else if (!found)
                status = ctl_fail(ctl, CTL_EXIT_REFUSED, "no runtime hosts agent %s", agent_id);
        else
                *ret_runtime_id = strdup(found);
        json_decref(result);
        return status;
}

/* input */

static CtlExit read_file(const Ctl *ctl, FILE *file, const char *name, char **ret, size_t *ret_size) {
        size_t size = 0, capacity = 65536;
        char *data = malloc(capacity);

        while (data && !feof(file)) {
                size += fread(data + size, 1, capacity - size, file);
                if (ferror(file) || size > INPUT_BYTES_MAX) {
                        const int error = errno;

                        free(data);
                        return size > INPUT_BYTES_MAX
                                       ? ctl_fail(ctl, CTL_EXIT_USAGE, "%s: more than %d bytes", name, INPUT_BYTES_MAX)
                                       : ctl_fail(ctl, CTL_EXIT_FAILURE, "%s: %s", name, strerror(error));
                }
                if (size == capacity) {
                        char *more = realloc(data, capacity *= 2);

                        if (!more)
                                free(data);
                        data = more;
                }
        }
        if (!data)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        *ret = data;
        *ret_size = size;
        return CTL_EXIT_OK;
}

/* What "JSON", "@file" and "-" are called in errors. */
static const char *source_name(const char *word) {
        return strcmp(word, "-") == 0 ? "standard input" : word[0] == '@' ? word + 1 : "the command line";
}

CtlExit ctl_read_bytes(const Ctl *ctl, const char *word, char **ret, size_t *ret_size) {
        const bool is_stdin = strcmp(word, "-") == 0;
        CtlExit status;
        FILE *file;

        if (!is_stdin && word[0] != '@') {
                *ret = strdup(word);
                *ret_size = strlen(word);
                return *ret ? CTL_EXIT_OK : ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        }
        file = is_stdin ? stdin : fopen(word + 1, "re");
        if (!file)
                return ctl_fail(ctl, CTL_EXIT_USAGE, "%s: %s", source_name(word), strerror(errno));
        status = read_file(ctl, file, source_name(word), ret, ret_size);
        if (!is_stdin)
                (void)fclose(file);
        return status;
}

static CtlExit fail_json(const Ctl *ctl, const char *word, const json_error_t *error) {
        return ctl_fail(ctl, CTL_EXIT_USAGE, "%s: no JSON: line %d, column %d: %s%s", source_name(word), error->line,
                error->column, error->text,
                word[0] == '@' || strcmp(word, "-") == 0 ? "" : " (a text needs quotes of its own: '\"hello\"')");
}

CtlExit ctl_read_json(const Ctl *ctl, const char *word, json_t **ret) {
        _cleanup_(free_charp) char *data = NULL;
        size_t size = 0;
        json_error_t error;
        CtlExit status = ctl_read_bytes(ctl, word, &data, &size);

        if (status != CTL_EXIT_OK)
                return status;
        *ret = json_loadb(data, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
        return *ret ? CTL_EXIT_OK : fail_json(ctl, word, &error);
}

/* By the decoder that the daemons have, which knows no number that is too large. */
static bool is_json(Slice text) {
        static const ScanField fields[] = { { .name = "value", .kind = SCAN_RAW }, { 0 } };
        _cleanup_(arena_clear) Arena arena = {};
        _cleanup_(buffer_done) Buffer object = {};
        Slice value = SLICE_NONE;

        if (!text.data)
                return false;
        while (text.size > 0 && memchr(" \t\r\n", text.data[text.size - 1], 4))
                text.size--;
        while (text.size > 0 && memchr(" \t\r\n", text.data[0], 4))
                text = slice_after(text, 1);
        emit_object(&object, NULL);
        emit_raw(&object, "value", text);
        emit_object_end(&object);
        /* all of it is the value: 1,"more":2 would be two members */
        return !object.failed && scan_object(buffer_slice(&object), fields, &value, &arena, NULL) == 0 &&
               value.size == text.size;
}

CtlExit ctl_read_json_text(const Ctl *ctl, const char *word, json_t **ret, char **ret_text, size_t *ret_size) {
        json_error_t error;
        CtlExit status = ctl_read_bytes(ctl, word, ret_text, ret_size);

        if (status != CTL_EXIT_OK)
                return status;
        *ret = json_loadb(*ret_text, *ret_size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
        if (*ret ||
                (json_error_code(&error) == json_error_numeric_overflow && is_json((Slice){ *ret_text, *ret_size })))
                return CTL_EXIT_OK;
        return fail_json(ctl, word, &error);
}

/* Ctrl-C */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
        (void)signal_number;
        interrupted = 1;
}

bool ctl_is_interrupted(void) {
        return interrupted != 0;
}

void ctl_forget_interrupt(void) {
        interrupted = 0;
}

/* The second one ends us at once, whatever we wait for. */
void ctl_catch_interrupts(void) {
        struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = SA_RESETHAND };

        (void)sigaction(SIGINT, &action, NULL);
        (void)sigaction(SIGTERM, &action, NULL);
}
