/* SPDX-License-Identifier: MIT */

/*
 * The scripts only hand the words over and show what comes back: what can follow is known to the descriptors, and ids
 * to the dispatchers. Completion never prints an error, and waits for nobody longer than a keystroke may take.
 */

#include <string.h>

#include "ctl/commands.h"
#include "ctl/context.h"
#include "ctl/fields.h"
#include "proto/id.h"

#define WAIT_USEC (400 * USEC_PER_MSEC)
#define IDS_MAX 1000

/*
 * bash splits words at ':' and '=' too (COMP_WORDBREAKS): what nothing stands between is put together again, and the
 * candidates lose what bash holds for words of their own. The bash-completion package does so as well, but need not be
 * there.
 */
/* clang-format off */
static const char bash_script[] =
        "# compozyctl completion for bash: source <(compozyctl completion bash)\n"
        "_compozyctl() {\n"
        "        local rest=${COMP_LINE:0:COMP_POINT} words=() gap found before i\n"
        "        for ((i = 0; i <= COMP_CWORD; i++)); do\n"
        "                gap=${rest%%[! $'\\t\\n']*}\n"
        "                rest=${rest#\"$gap\"}\n"
        "                [[ $gap || $i = 0 ]] && words+=('')\n"
        "                if [ \"$i\" = \"$COMP_CWORD\" ]; then\n"
        "                        words[-1]+=$rest\n"
        "                else\n"
        "                        words[-1]+=${COMP_WORDS[i]}\n"
        "                        rest=${rest#\"${COMP_WORDS[i]}\"}\n"
        "                fi\n"
        "        done\n"
        "        before=${words[-1]%\"$2\"}\n"
        "        words=(\"${words[@]//[\\'\\\"]}\")\n"
        "        found=$(compozyctl __complete -- \"${words[@]:1}\" 2>/dev/null)\n"
        "        COMPREPLY=()\n"
        "        if [ \"$found\" = '<file>' ]; then\n"
        "                compopt -o default 2>/dev/null\n"
        "        elif [ \"$found\" ]; then\n"
        "                mapfile -t COMPREPLY < <(cut -f1 <<<\"$found\")\n"
        "                COMPREPLY=(\"${COMPREPLY[@]#\"$before\"}\")\n"
        "        fi\n"
        "}\n"
        "complete -F _compozyctl compozyctl\n";
/* clang-format on */

static const char zsh_script[] =
        "#compdef compozyctl\n"
        "# compozyctl completion for zsh: compozyctl completion zsh >\"${fpath[1]}/_compozyctl\"\n"
        "_compozyctl() {\n"
        "        local line; local -a lines candidates\n"
        "        lines=(\"${(@f)$(compozyctl __complete -- \"${(@Q)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
        "        if [[ \"$lines[1]\" == '<file>' ]]; then\n"
        "                _files\n"
        "                return\n"
        "        fi\n"
        "        for line in $lines; do\n"
        "                candidates+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\")\n"
        "        done\n"
        "        _describe 'compozyctl' candidates\n"
        "}\n"
        "if [ \"$funcstack[1]\" = _compozyctl ]; then\n"
        "        _compozyctl\n"
        "else\n"
        "        compdef _compozyctl compozyctl\n"
        "fi\n";

static const char *const shells[] = { "bash", "zsh", NULL };

static const Argument completion_arguments[] = {
        { .name = "SHELL", .help = "bash or zsh", .choices = shells },
        {},
};

static CtlExit run_completion(Ctl *ctl, const Invocation *invocation) {
        (void)ctl;

        (void)fputs(strcmp(invocation->words[0], "bash") == 0 ? bash_script : zsh_script, stdout);
        return CTL_EXIT_OK;
}

/* candidates */

/* The last word. */
typedef struct Unfinished {
        Slice before;     /* "--state=" of "--state=li"; candidates are whole words, and begin with it */
        const char *text; /* "li" */
} Unfinished;

static void offer(const char *candidate, const char *meaning, const Unfinished *current) {
        if (strncmp(candidate, current->text, strlen(current->text)) == 0)
                (void)printf("%.*s%s\t%s\n", SLICE_ARG(current->before), candidate, meaning ? meaning : "");
}

static void offer_choices(const char *const *choices, const Unfinished *current) {
        for (size_t i = 0; choices[i]; i++)
                offer(choices[i], NULL, current);
}

static void offer_ids(Ctl *ctl, const char *verb, const char *list, const char *key, const char *meaning_key,
        const Unfinished *current) {
        _cleanup_(answer_done) Answer answer = {};
        NatsReason why;
        json_t *one;
        size_t i;

        if (ctl_load_settings(ctl) != CTL_EXIT_OK ||
                client_new(&ctl->settings, WAIT_USEC, false, &ctl->client, &why) < 0)
                return;
        client_ask(ctl->client, ANY_DISPATCHER, verb, json_pack("{s:i}", "limit", IDS_MAX), WAIT_USEC, &answer);
        if (answer.kind != ANSWER_RESULT)
                return;
        json_array_foreach(json_object_get(answer.result, list), i, one) {
                const char *id = field_text(one, key);
                char meaning[128];

                if (!id_is_valid(slice_of(id))) /* a shell reads it */
                        continue;
                (void)screen_text(meaning, sizeof(meaning), field_text(one, meaning_key));
                offer(id, meaning, current);
        }
}

static void offer_contexts(const Unfinished *current) {
        ContextName *names = NULL;
        size_t n = 0;

        (void)context_names(&names, &n);
        for (size_t i = 0; i < n; i++)
                offer(names[i].text, NULL, current);
        free(names);
}

/* The word behind `prefix` ("" or "agent ") of each command that goes on so. */
static void offer_commands(const char *prefix, const Unfinished *current) {
        const char *last = "";

        for (size_t i = 0; commands[i]; i++) {
                const char *rest = commands[i]->name + strlen(prefix);
                char word[64];
                const bool is_group = strncmp(commands[i]->name, prefix, strlen(prefix)) == 0 && strchr(rest, ' ');

                if (commands[i]->is_hidden || strncmp(commands[i]->name, prefix, strlen(prefix)) != 0)
                        continue;
                (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(rest, " "), rest);
                if (is_group && strncmp(last, commands[i]->name, strlen(prefix) + strlen(word)) == 0 &&
                        last[strlen(prefix) + strlen(word)] == ' ')
                        continue; /* the group was named */
                offer(word, is_group ? "..." : commands[i]->summary, current);
                last = commands[i]->name;
        }
}

static void offer_words(Ctl *ctl, WordKind kind, const Unfinished *current) {
        switch (kind) {
        case WORD_AGENT:
                offer_ids(ctl, "list_agents", "agents", "agent_id", "agent_type", current);
                break;
        case WORD_RUNTIME:
                offer_ids(ctl, "list_runtimes", "runtimes", "runtime_id", "state", current);
                break;
        case WORD_CONTEXT:
                offer_contexts(current);
                break;
        case WORD_FILE:
        case WORD_DIRECTORY:
                (void)printf("<file>\n");
                break;
        case WORD_COMMAND:
                offer_commands("", current);
                break;
        case WORD_ANY:
                break;
        }
}

static void offer_options(const Option *table, const Unfinished *current) {
        for (const Option *option = table; option && option->name; option++) {
                char word[64];

                (void)snprintf(word, sizeof(word), "--%s", option->name);
                offer(word, option->help, current);
        }
}

/*
 * Which option with a value a word is; NULL: none. *ret_value is where in the word the value stands, or NULL when it is
 * the next word.
 */
static const Option *option_of(const Option *table, const char *word, const char **ret_value) {
        const bool is_long = strncmp(word, "--", 2) == 0;
        const size_t size = is_long ? strcspn(word + 2, "=") : 0;

        for (const Option *option = table; option && option->name; option++) {
                if (option->kind == OPTION_FLAG)
                        continue;
                if (is_long && strlen(option->name) == size && strncmp(word + 2, option->name, size) == 0) {
                        *ret_value = word[2 + size] == '=' ? word + 2 + size + 1 : NULL;
                        return option;
                }
                if (!is_long && word[0] == '-' && option->letter && word[1] == option->letter) {
                        *ret_value = word[2] != '\0' ? word + 2 : NULL;
                        return option;
                }
        }
        return NULL;
}

typedef struct Typed {
        const char *plain[32]; /* words that are neither options nor their values */
        size_t n_plain;
        const Option *open;
        const Command *command;
        size_t n_used;
} Typed;

static const Option *known_option(const Typed *typed, const char *word, const char **ret_value) {
        const Option *option = option_of(global_options, word, ret_value);

        return option || !typed->command ? option : option_of(typed->command->options, word, ret_value);
}

/* Those that tell where to ask for ids, and as whom. */
static void take_value(Ctl *ctl, const Option *option, const char *value) {
        if (option->kind == OPTION_LIST && option->offset == offsetof(GlobalOptions, settings)) {
                if (ctl->global.settings.n_items < TEXT_LIST_MAX)
                        ctl->global.settings.items[ctl->global.settings.n_items++] = value;
        } else if (option->kind == OPTION_TEXT) {
                *(const char **)((char *)&ctl->global + option->offset) = value;
        }
}

static bool is_global(const Option *option) {
        const Option *one = global_options;

        while (one->name && one != option)
                one++;
        return one->name != NULL;
}

static void read_typed(Ctl *ctl, const char *const *words, size_t n, Typed *ret) {
        *ret = (Typed){ 0 };
        for (size_t i = 0; i < n; i++) {
                const Option *option = ret->open;
                const char *value = words[i];

                if (!option) {
                        option = known_option(ret, words[i], &value);
                        if (option && !value) {
                                ret->open = option;
                                continue;
                        }
                }
                ret->open = NULL;
                if (option && is_global(option))
                        take_value(ctl, option, value);
                if (option || words[i][0] == '-' || ret->n_plain == ELEMENTSOF(ret->plain))
                        continue;
                ret->plain[ret->n_plain++] = words[i];
                ret->command = command_find(ret->plain, ret->n_plain, &ret->n_used);
        }
}

static void complete_value(Ctl *ctl, const Option *option, const Unfinished *current) {
        if (option->choices)
                offer_choices(option->choices, current);
        else
                offer_words(ctl, option->words, current);
}

static void complete_argument(Ctl *ctl, const Typed *typed, const Unfinished *current) {
        const Argument *argument = typed->command->arguments;

        for (size_t i = typed->n_used; argument && argument->name && i < typed->n_plain && !argument->is_repeated; i++)
                argument++;
        if (!argument || !argument->name)
                return;
        if (argument->choices)
                offer_choices(argument->choices, current);
        else
                offer_words(ctl, argument->words, current);
}

static CtlExit run_complete(Ctl *ctl, const Invocation *invocation) {
        size_t n = invocation->n_words;
        const char *value = NULL;
        const Option *glued;
        Unfinished current = {};
        char prefix[64];
        Typed typed;

        while (n > 0 && !invocation->words[n - 1])
                n--;
        current.text = n > 0 ? invocation->words[n - 1] : "";
        read_typed(ctl, invocation->words, n > 0 ? n - 1 : 0, &typed);
        glued = typed.open ? NULL : known_option(&typed, current.text, &value);
        if (typed.open) {
                complete_value(ctl, typed.open, &current);
        } else if (glued && value) {
                current = (Unfinished){ { current.text, (size_t)(value - current.text) }, value };
                complete_value(ctl, glued, &current);
        } else if (current.text[0] == '-') {
                if (typed.command)
                        offer_options(typed.command->options, &current);
                offer_options(global_options, &current);
                offer("--help", "Help", &current);
        } else if (typed.command) {
                complete_argument(ctl, &typed, &current);
        } else {
                (void)snprintf(prefix, sizeof(prefix), "%.40s%s", typed.n_plain > 0 ? typed.plain[0] : "",
                        typed.n_plain > 0 ? " " : "");
                offer_commands(prefix, &current);
        }
        return CTL_EXIT_OK;
}

static const Argument complete_arguments[] = {
        { .name = "WORD",
                .help = "What was typed so far, the last one unfinished",
                .is_optional = true,
                .is_repeated = true },
        {},
};

const Command command_completion = {
        .name = "completion",
        .summary = "Print what makes a shell complete commands, options and ids",
        .example = "  source <(compozyctl completion bash)",
        .arguments = completion_arguments,
        .run = run_completion,
};

const Command command_complete = {
        .name = "__complete",
        .summary = "Candidates for the last word",
        .arguments = complete_arguments,
        .run = run_complete,
        .is_hidden = true,
};
