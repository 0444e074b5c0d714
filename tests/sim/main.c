/* SPDX-License-Identifier: MIT */

/*
 * sim: runs many seeds, in as many processes as there are CPUs; or one seed with its trace.
 *
 * The workers are forked and share nothing but a page each with what they have counted and which seed they are at, so
 * that a seed that ends its process (an assertion, a sanitizer, a loop that never ends) is named and the others go on.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define JOBS_MAX 64
#define SEED_SECONDS_MAX 60   /* a seed takes milliseconds; one that takes so long never ends */
#define TWICE_EVERY 50        /* seeds that are run twice, to compare */
#define HOLES_SEEDS_MIN 10000 /* with so many seeds, a kind that never occurred is a failure */
#define FAILURES_SHOWN 20

typedef struct Options {
        uint64_t first, n_seeds, jobs;
        bool single, trace;
} Options;

typedef struct Shared {
        Stats stats;
        uint64_t seed; /* that is being run */
} Shared;

static void print_failure(uint64_t seed, const char *text) {
        (void)printf("seed %" PRIu64 " FAILED %s\n  replay: make sim SEED=%" PRIu64 "\n", seed, text, seed);
        (void)fflush(stdout);
}

/* Counts what happened only once, though some seeds are run twice. */
static bool run_seed(uint64_t seed, bool trace, Stats *stats) {
        const SimOptions options = { .seed = seed, .trace = trace };
        uint64_t hash, again;
        char text[1024];
        Stats unused = {};

        stats->counts[COUNT_SEEDS]++;
        if (!sim_run(&options, stats, &hash, text, sizeof(text))) {
                if (stats->counts[COUNT_FAILED]++ < FAILURES_SHOWN)
                        print_failure(seed, text);
                return false;
        }
        if (trace || seed % TWICE_EVERY != 0)
                return true;

        stats->counts[COUNT_SEEDS_TWICE]++;
        if (sim_run(&options, &unused, &again, text, sizeof(text)) && again == hash)
                return true;
        stats->counts[COUNT_FAILED]++;
        print_failure(seed, "run twice, it did not do the same: something depends on more than the seed");
        return false;
}

static void work(const Options *options, uint64_t from, uint64_t step, Shared *shared) {
        for (uint64_t i = from; i < options->n_seeds; i += step) {
                shared->seed = options->first + i;
                (void)alarm(SEED_SECONDS_MAX);
                (void)run_seed(shared->seed, /* trace= */ false, &shared->stats);
        }
}

static pid_t start_worker(const Options *options, uint64_t from, Shared *shared) {
        pid_t pid;

        (void)fflush(stdout);
        pid = fork();
        if (pid < 0) {
                (void)fprintf(stderr, "sim: fork: %s\n", strerror(errno));
                exit(EXIT_FAILURE);
        }
        if (pid == 0) {
                work(options, from, options->jobs, shared);
                (void)fflush(stdout);
                _exit(0);
        }
        return pid;
}

/* A worker's end: all done, or its seed has killed it and the rest of its share is for a new one. */
static pid_t follow_worker(const Options *options, Shared *shared, int status) {
        char text[64];

        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return -1;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                (void)snprintf(text, sizeof(text), "did not end within %d s", SEED_SECONDS_MAX);
        else if (WIFSIGNALED(status))
                (void)snprintf(text, sizeof(text), "ended its process by signal %d", WTERMSIG(status));
        else
                (void)snprintf(text, sizeof(text), "ended its process with code %d", WEXITSTATUS(status));
        shared->stats.counts[COUNT_FAILED]++;
        print_failure(shared->seed, text);
        return start_worker(options, shared->seed - options->first + options->jobs, shared);
}

static int run_many(const Options *options) {
        Shared *shared =
                mmap(NULL, JOBS_MAX * sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pid_t pids[JOBS_MAX];
        uint64_t n_running = options->jobs, n_failed;
        Stats sum = {};
        unsigned n_holes;
        int status;

        if (shared == MAP_FAILED) {
                (void)fprintf(stderr, "sim: mmap: %s\n", strerror(errno));
                return EXIT_FAILURE;
        }
        for (uint64_t j = 0; j < options->jobs; j++)
                pids[j] = start_worker(options, j, &shared[j]);
        while (n_running > 0) {
                pid_t pid = wait(&status);

                for (uint64_t j = 0; j < options->jobs; j++) {
                        if (pids[j] != pid)
                                continue;
                        pids[j] = follow_worker(options, &shared[j], status);
                        n_running -= pids[j] < 0;
                }
        }
        for (uint64_t j = 0; j < options->jobs; j++)
                stats_add(&sum, &shared[j].stats);

        n_holes = stats_print(&sum);
        n_failed = sum.counts[COUNT_FAILED];
        if (n_holes > 0 && options->n_seeds >= HOLES_SEEDS_MIN) {
                (void)printf("%u kinds never occurred: the simulation has holes\n", n_holes);
                n_failed++;
        }
        (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", options->n_seeds - sum.counts[COUNT_FAILED], n_failed);
        return n_failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void usage(void) {
        (void)printf("usage: sim [--seeds N] [--first S] [--jobs J] | --seed S [--trace]\n\n"
                     "  --seeds N   run N seeds (1000)\n"
                     "  --first S   beginning with this one (1)\n"
                     "  --jobs J    in so many processes (the number of CPUs)\n"
                     "  --seed S    run one seed\n"
                     "  --trace     and print all that happens in it\n");
}

static bool parse_options(int argc, char **argv, Options *ret) {
        static const struct option known[] = {
                { "seeds", required_argument, NULL, 'n' },
                { "first", required_argument, NULL, 'f' },
                { "seed", required_argument, NULL, 's' },
                { "jobs", required_argument, NULL, 'j' },
                { "trace", no_argument, NULL, 't' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
                uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

                switch (c) {
                case 'n':
                        ret->n_seeds = number;
                        break;
                case 's':
                        ret->single = true;
                        ret->first = number;
                        break;
                case 'f':
                        ret->first = number;
                        break;
                case 'j':
                        ret->jobs = number;
                        break;
                case 't':
                        ret->trace = true;
                        break;
                default:
                        return false;
                }
        }
        ret->jobs = MIN_OF(MAX_OF(ret->jobs, UINT64_C(1)), (uint64_t)JOBS_MAX);
        return optind == argc;
}

int main(int argc, char **argv) {
        long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
        Options options = { .first = 1, .n_seeds = 1000, .jobs = n_cpus > 0 ? (uint64_t)n_cpus : 1 };
        Stats stats = {};
        bool held;

        if (!parse_options(argc, argv, &options)) {
                usage();
                return EXIT_FAILURE;
        }
        if (!options.single)
                return run_many(&options);

        held = run_seed(options.first, options.trace, &stats);
        if (options.trace)
                (void)stats_print(&stats);
        (void)printf("%d passed, %d failed\n", held, !held);
        return held ? EXIT_SUCCESS : EXIT_FAILURE;
}
