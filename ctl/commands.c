/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "ctl/commands.h"

#define X(name) &command_##name,
const Command *const commands[] = { COMMANDS(X) NULL };
#undef X

/* How many words of `name` the words begin with; 0 when they differ. */
static size_t match(const char *name, const char *const *words, size_t n_words) {
        size_t n = 0;

        while (n < n_words) {
                const size_t size = strlen(words[n]);

                if (strncmp(name, words[n], size) != 0 || (name[size] != '\0' && name[size] != ' '))
                        return 0;
                n++;
                if (name[size] == '\0')
                        return n;
                name += size + 1;
        }
        return 0;
}

const Command *command_find(const char *const *words, size_t n_words, size_t *ret_n_used) {
        const Command *found = NULL;

        *ret_n_used = 0;
        for (size_t i = 0; commands[i]; i++) {
                const size_t n = match(commands[i]->name, words, n_words);

                if (n > *ret_n_used) {
                        found = commands[i];
                        *ret_n_used = n;
                }
        }
        return found;
}

bool command_begins(const char *word) {
        const size_t size = strlen(word);

        for (size_t i = 0; commands[i]; i++)
                if (strncmp(commands[i]->name, word, size) == 0 && commands[i]->name[size] == ' ')
                        return true;
        return false;
}
