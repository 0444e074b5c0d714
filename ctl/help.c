/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "ctl/ctl.h"
#include "ctl/help.h"

#define NAME_COLUMNS 22
#define OPTION_COLUMNS 24

static const char overview_head[] = "Talks to Compozy dispatchers and runtimes over NATS.\n";

static const char overview_tail[] =
        "Where NATS is: --server, -o nats.KEY=VALUE, --context, COMPOZY_CONTEXT, NATS_URL, the current context,\n"
        "nats://127.0.0.1:4222; the first that is given.\n"
        "\n"
        "Exit status: 0 done; 1 failed; 2 usage; 3 no connection to NATS; 4 nobody listens; 5 no answer in time;\n"
        "6 refused, with a code; 7 the agent reported an error; 130 interrupted.\n";

static void print_option(const Option *option, FILE *file) {
        char left[64];
        size_t n;

        n = (size_t)snprintf(left, sizeof(left), "%c%c%s --%s%s%s", option->letter ? '-' : ' ',
                option->letter ? option->letter : ' ', option->letter ? "," : " ", option->name,
                option->kind == OPTION_FLAG ? "" : " ", option->kind == OPTION_FLAG ? "" : option->value);
        (void)fprintf(file, "  %-*s%s%s", OPTION_COLUMNS, left, n >= OPTION_COLUMNS ? "  " : "", option->help);
        if (option->kind == OPTION_CHOICE) {
                (void)fputs(": ", file);
                for (size_t i = 0; option->choices[i]; i++)
                        (void)fprintf(file, "%s%s", i > 0 ? ", " : "", option->choices[i]);
        }
        if (option->fallback && option->fallback[0] != '\0')
                (void)fprintf(file, " (%s)", option->fallback);
        (void)fputc('\n', file);
}

static void print_options(const Screen *screen, const char *title, const Option *table, FILE *file) {
        if (!table || !table->name)
                return;
        (void)fprintf(file, "\n%s%s%s\n", screen_on(screen, COLOUR_STRONG), title, screen_off(screen, COLOUR_STRONG));
        for (const Option *option = table; option->name; option++)
                print_option(option, file);
}

void help_overview(const Screen *screen, FILE *file) {
        (void)fprintf(file, "Usage: compozyctl [OPTION...] COMMAND [ARGUMENT...]\n\n%s\n%sCommands%s\n", overview_head,
                screen_on(screen, COLOUR_STRONG), screen_off(screen, COLOUR_STRONG));
        for (size_t i = 0; commands[i]; i++)
                if (!commands[i]->is_hidden)
                        (void)fprintf(file, "  %-*s%s\n", NAME_COLUMNS, commands[i]->name, commands[i]->summary);
        print_options(screen, "Options of every command", global_options, file);
        (void)fprintf(file, "  %-*s%s\n  %-*s%s\n\n%s", OPTION_COLUMNS, "-h, --help", "Help, also of a command",
                OPTION_COLUMNS, "-V, --version", "The version", overview_tail);
}

void help_group(const Screen *screen, const char *word, FILE *file) {
        const size_t size = strlen(word);

        (void)fprintf(file, "Usage: compozyctl [OPTION...] %s COMMAND [ARGUMENT...]\n\n%sCommands%s\n", word,
                screen_on(screen, COLOUR_STRONG), screen_off(screen, COLOUR_STRONG));
        for (size_t i = 0; commands[i]; i++)
                if (strncmp(commands[i]->name, word, size) == 0 && commands[i]->name[size] == ' ')
                        (void)fprintf(file, "  %-*s%s\n", NAME_COLUMNS, commands[i]->name, commands[i]->summary);
        (void)fprintf(file, "\n`compozyctl COMMAND --help` says more of each.\n");
}

void help_command(const Screen *screen, const Command *command, FILE *file) {
        (void)fprintf(file, "Usage: compozyctl %s", command->name);
        if (command->options && command->options->name)
                (void)fputs(" [OPTION...]", file);
        for (const Argument *argument = command->arguments; argument && argument->name; argument++)
                (void)fprintf(file, " %s%s%s%s", argument->is_optional ? "[" : "", argument->name,
                        argument->is_optional ? "]" : "", argument->is_repeated ? "..." : "");
        (void)fprintf(file, "\n\n%s.\n", command->summary);
        if (command->details)
                (void)fprintf(file, "\n%s\n", command->details);
        if (command->arguments && command->arguments->name) {
                (void)fputc('\n', file);
                for (const Argument *argument = command->arguments; argument->name; argument++)
                        (void)fprintf(file, "  %-*s%s\n", OPTION_COLUMNS, argument->name, argument->help);
        }
        print_options(screen, "Options", command->options, file);
        if (command->example)
                (void)fprintf(file, "\n%sExample%s\n%s\n", screen_on(screen, COLOUR_STRONG),
                        screen_off(screen, COLOUR_STRONG), command->example);
        (void)fprintf(file, "\n`compozyctl help` lists the options of every command");
        if (command->timeout)
                (void)fprintf(file, "; --timeout is %s here", command->timeout);
        (void)fputs(".\n", file);
}

/* for programs */

static json_t *texts(const char *const *items) {
        json_t *array = json_array();

        for (size_t i = 0; items && items[i]; i++)
                (void)json_array_append_new(array, json_string(items[i]));
        return array;
}

static json_t *options_json(const Option *table) {
        static const char *const kinds[] = { "flag", "text", "list", "number", "duration", "choice" };
        json_t *array = json_array();

        for (const Option *option = table; option && option->name; option++) {
                const char letter[2] = { option->letter, '\0' };

                (void)json_array_append_new(
                        array, json_pack("{s:s, s:s, s:s, s:s?, s:s, s:s?, s:o}", "name", option->name, "letter",
                                       letter, "kind", kinds[option->kind], "value", option->value, "help",
                                       option->help, "default", option->fallback, "choices", texts(option->choices)));
        }
        return array;
}

static json_t *arguments_json(const Argument *table) {
        json_t *array = json_array();

        for (const Argument *argument = table; argument && argument->name; argument++)
                (void)json_array_append_new(
                        array, json_pack("{s:s, s:s, s:b, s:b}", "name", argument->name, "help", argument->help,
                                       "optional", argument->is_optional, "repeated", argument->is_repeated));
        return array;
}

json_t *help_json(void) {
        json_t *list = json_array();

        for (size_t i = 0; commands[i]; i++) {
                const Command *command = commands[i];

                if (!command->is_hidden)
                        (void)json_array_append_new(list,
                                json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:o, s:o}", "name", command->name, "summary",
                                        command->summary, "details", command->details, "example", command->example,
                                        "timeout", command->timeout, "arguments", arguments_json(command->arguments),
                                        "options", options_json(command->options)));
        }
        return json_pack("{s:o, s:o}", "options", options_json(global_options), "commands", list);
}
