/* SPDX-License-Identifier: MIT */

/*
 * main() of a fuzz target for any compiler:
 *
 *      fuzz_x PATH...                          replays files, and the files of directories
 *      fuzz_x --seeds N [--seed S] PATH...     then runs N inputs made from them; what input S + i is, depends on the
 * files and on S + i alone
 *
 * Inputs are made with JSON in mind: besides flipping bytes, values are swapped for nasty ones, members are doubled,
 * pieces of other files are spliced in, and brackets are piled up. A failure prints the seed to run again.
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX (64 * 1024)
#define FILES_MAX 4096
#define MUTATIONS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

typedef struct Input {
        size_t size;
        uint8_t data[INPUT_MAX];
} Input;

typedef struct File {
        size_t size;
        uint8_t *data;
} File;

static File files[FILES_MAX];
static size_t n_files;
static char current[512]; /* what is being run: a path or a seed */

/* what failed */

static void say_current(void) {
        (void)!write(STDERR_FILENO, current, strlen(current));
}

static void on_signal(int number) {
        say_current();
        (void)signal(number, SIG_DFL);
        (void)raise(number);
}

static void run(const uint8_t *data, size_t size) {
        /* a copy of exactly that size, so that a sanitizer sees a read beyond the end */
        uint8_t *copy = malloc(size > 0 ? size : 1);

        if (!copy)
                exit(EXIT_FAILURE);
        if (size > 0)
                memcpy(copy, data, size);
        (void)LLVMFuzzerTestOneInput(copy, size);
        free(copy);
}

/* files */

static void load_file(const char *path) {
        File file = { 0 };
        FILE *stream = fopen(path, "rb");

        file.data = malloc(INPUT_MAX);
        if (!stream || !file.data || n_files == FILES_MAX) {
                (void)fprintf(stderr, "%s: cannot be read\n", path);
                exit(EXIT_FAILURE);
        }
        file.size = fread(file.data, 1, INPUT_MAX, stream);
        (void)fclose(stream);

        (void)snprintf(current, sizeof(current), "failed on the file %s\n", path);
        run(file.data, file.size);
        files[n_files++] = file;
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name); /* the same everywhere, unlike alphasort() */
}

static void load(const char *path) {
        struct dirent **entries = NULL;
        struct stat st;
        char inner[4096];
        int n;

        if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
                load_file(path);
                return;
        }

        n = scandir(path, &entries, NULL, compare_names);
        for (int i = 0; i < n; i++) {
                if (entries[i]->d_name[0] != '.') {
                        (void)snprintf(inner, sizeof(inner), "%s/%s", path, entries[i]->d_name);
                        load_file(inner);
                }
                free(entries[i]);
        }
        free(entries);
}

/* randomness: splitmix64 (https://prng.di.unimi.it/splitmix64.c) */

static uint64_t next(uint64_t *rng) {
        uint64_t z = *rng += UINT64_C(0x9E3779B97F4A7C15);

        z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
        return z ^ z >> 31;
}

static size_t below(uint64_t *rng, size_t n) {
        return n > 0 ? (size_t)(next(rng) % n) : 0;
}

/* mutations */

/* Puts `n` bytes in the place of `old` bytes at `at`. */
static void splice(Input *input, size_t at, size_t old, const void *bytes, size_t n) {
        assert(at + old <= input->size);

        if (input->size - old + n > INPUT_MAX)
                return;
        memmove(input->data + at + n, input->data + at + old, input->size - at - old);
        memcpy(input->data + at, bytes, n);
        input->size = input->size - old + n;
}

static bool is_delimiter(uint8_t c) {
        return strchr(",:[]{}", c) && c != '\0';
}

/* A token: from behind some delimiter up to the next one. */
static size_t pick_token(const Input *input, uint64_t *rng, size_t *ret_size) {
        size_t at = below(rng, input->size), end;

        while (at > 0 && !is_delimiter(input->data[at - 1]))
                at--;
        end = at;
        while (end < input->size && !is_delimiter(input->data[end]))
                end++;
        *ret_size = end - at;
        return at;
}

static void flip_byte(Input *input, uint64_t *rng) {
        if (input->size > 0)
                input->data[below(rng, input->size)] ^= (uint8_t)(1U << below(rng, 8));
}

static void set_byte(Input *input, uint64_t *rng) {
        static const uint8_t bytes[] = "\"\\{}[],:0-.eE\n\t\x1f\x7f\x80\xc0\xc2\xe0\xed\xf0\xf4\xff tfnu";

        if (input->size > 0)
                input->data[below(rng, input->size)] = bytes[below(rng, sizeof(bytes))];
}

static void truncate_input(Input *input, uint64_t *rng) {
        input->size = below(rng, input->size + 1);
}

static void remove_some(Input *input, uint64_t *rng) {
        const size_t at = below(rng, input->size), n = 1 + below(rng, 8);

        splice(input, at, n < input->size - at ? n : input->size - at, "", 0);
}

static void replace_token(Input *input, uint64_t *rng) {
        static const char *const tokens[] = {
                "null",
                "true",
                "false",
                "0",
                "-0",
                "-1",
                "1.5",
                "1e308",
                "1e999",
                "1e-999",
                "18446744073709551615",
                "18446744073709551616",
                "9007199254740991",
                "9007199254740992",
                "30000.0",
                "00",
                "1e",
                "\"\"",
                "\"a b\"",
                "\"\\u0000\"",
                "\"\\ud800\"",
                "\"\\ud83d\\ude00\"",
                "\"\xc0\xaf\"",
                "\"\xed\xa0\x80\"",
                "\"\xf4\x90\x80\x80\"",
                "\"\xf0\x9f\x98\x80\"",
                "\"*\"",
                "\"a..b\"",
                "{}",
                "[]",
                "{\"a\":1}",
                "[1,\"b\"]",
                "\"priority\"",
                "\"payload\"",
                "\"done\"",
                "\"refused\"",
                "\"SUCCESS\"",
                "\"\\u0061\"",
                " ",
                "",
        };
        const char *const token = tokens[below(rng, sizeof(tokens) / sizeof(tokens[0]))];
        size_t size;
        const size_t at = pick_token(input, rng, &size);

        splice(input, at, size, token, strlen(token));
}

/* Something from here to there, within one file or from another. */
static void copy_piece(Input *input, uint64_t *rng) {
        const File *file = n_files > 0 ? &files[below(rng, n_files)] : &(File){ 0 };
        const size_t from = below(rng, file->size), n = below(rng, file->size - from + 1);
        const size_t at = below(rng, input->size + 1);

        splice(input, at, 0, file->data ? file->data + from : (const uint8_t *)"", n < 256 ? n : 256);
}

static void double_member(Input *input, uint64_t *rng) {
        uint8_t copy[512];
        size_t end = below(rng, input->size + 1), start = end;

        while (end < input->size && input->data[end] != ',' && input->data[end] != '}')
                end++;
        start = end;
        while (start > 0 && end - start < sizeof(copy) - 1 && input->data[start - 1] != ',' &&
                input->data[start - 1] != '{')
                start--;
        copy[0] = ',';
        memcpy(copy + 1, input->data + start, end - start);
        splice(input, end, 0, copy, end - start + 1);
}

static void pile_brackets(Input *input, uint64_t *rng) {
        uint8_t open[80], close[80];
        const size_t n = 1 + below(rng, sizeof(open));
        size_t size;
        const size_t at = pick_token(input, rng, &size);

        memset(open, '[', sizeof(open));
        memset(close, ']', sizeof(close));
        splice(input, at + size, 0, close, n);
        splice(input, at, 0, open, n);
}

static void lengthen(Input *input, uint64_t *rng) {
        static const size_t sizes[] = { 7, 8, 9, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 5000 };
        uint8_t bytes[5000];

        memset(bytes, below(rng, 2) ? 'x' : '1', sizeof(bytes));
        splice(input, below(rng, input->size + 1), 0, bytes, sizes[below(rng, sizeof(sizes) / sizeof(sizes[0]))]);
}

static void mutate(Input *input, uint64_t *rng) {
        static void (*const mutations[])(Input *, uint64_t *) = { flip_byte, set_byte, truncate_input, remove_some,
                replace_token, replace_token, replace_token, copy_piece, double_member, pile_brackets, lengthen };
        const size_t n = 1 + below(rng, MUTATIONS_MAX);

        for (size_t i = 0; i < n; i++)
                mutations[below(rng, sizeof(mutations) / sizeof(mutations[0]))](input, rng);
}

static void run_seed(uint64_t seed) {
        static Input input;
        uint64_t rng = seed;
        const File *const file = n_files > 0 ? &files[below(&rng, n_files)] : NULL;

        input.size = file ? file->size : 0;
        if (input.size > 0)
                memcpy(input.data, file->data, input.size);
        (void)snprintf(current, sizeof(current), "failed with --seeds 1 --seed %llu\n", (unsigned long long)seed);
        mutate(&input, &rng);
        run(input.data, input.size);
}

int main(int argc, char **argv) {
        uint64_t n_seeds = 0, first_seed = 1;

        (void)signal(SIGABRT, on_signal);
        (void)signal(SIGSEGV, on_signal);
        if (__sanitizer_set_death_callback)
                __sanitizer_set_death_callback(say_current);

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
                        n_seeds = strtoull(argv[++i], NULL, 10);
                else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
                        first_seed = strtoull(argv[++i], NULL, 10);
                else
                        load(argv[i]);
        }
        for (uint64_t i = 0; i < n_seeds; i++)
                run_seed(first_seed + i);

        (void)printf("%s: %zu files, %llu seeds\n", argv[0], n_files, (unsigned long long)n_seeds);
        for (size_t i = 0; i < n_files; i++)
                free(files[i].data);
        return EXIT_SUCCESS;
}
