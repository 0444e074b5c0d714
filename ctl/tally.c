/* SPDX-License-Identifier: MIT */

#include <stdio.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/tally.h"

static const char *const outcome_names[] = {
        [TALLY_SUCCESS] = "SUCCESS",
        [TALLY_AGENT_ERROR] = "AGENT_ERROR",
        [TALLY_FAILURE] = "FAILURE",
};

static TallyCode *find_code(Tally *tally, Slice code) {
        const Slice other = SLICE("other");
        const bool has_room = tally->n_codes + 1 < TALLY_CODES_MAX; /* the last place is for the rest */
        const Slice wanted = { code.data, MIN_OF(code.size, (size_t)TALLY_CODE_SIZE - 1) };
        TallyCode *one;

        for (size_t i = 0; i < tally->n_codes; i++)
                if (slice_equal(slice_of(tally->codes[i].code), wanted))
                        return &tally->codes[i];
        if (!has_room && tally->n_codes == TALLY_CODES_MAX)
                return &tally->codes[TALLY_CODES_MAX - 1];
        one = &tally->codes[tally->n_codes++];
        (void)snprintf(one->code, sizeof(one->code), "%.*s", SLICE_ARG(has_room ? wanted : other));
        return one;
}

void tally_add(Tally *tally, TallyOutcome outcome, Slice code, Slice message, uint64_t usec) {
        TallyCode *one;

        tally->n[outcome]++;
        if (usec != UINT64_MAX)
                latency_add(&tally->latency, usec);
        if (outcome == TALLY_SUCCESS)
                return;
        one = find_code(tally, code.size > 0 ? code : SLICE("unnamed"));
        if (one->n++ == 0)
                (void)snprintf(one->example, sizeof(one->example), "%.*s", SLICE_ARG(message));
}

uint64_t tally_total(const Tally *tally) {
        return tally->n[TALLY_SUCCESS] + tally_n_errors(tally);
}

uint64_t tally_n_errors(const Tally *tally) {
        return tally->n[TALLY_AGENT_ERROR] + tally->n[TALLY_FAILURE];
}

/* as JSON */

static json_t *milliseconds(uint64_t usec) {
        return json_real((double)usec / USEC_PER_MSEC);
}

json_t *tally_outcomes_json(const Tally *tally) {
        json_t *object = json_object();

        for (size_t i = 0; i < _TALLY_OUTCOME_MAX; i++)
                (void)json_object_set_new(object, outcome_names[i], json_integer((json_int_t)tally->n[i]));
        return object;
}

json_t *tally_errors_json(const Tally *tally) {
        json_t *object = json_object();

        for (size_t i = 0; i < tally->n_codes; i++)
                (void)json_object_set_new(object, tally->codes[i].code, json_integer((json_int_t)tally->codes[i].n));
        return object;
}

json_t *latency_json(const Latency *latency) {
        return json_pack("{s:o, s:o, s:o, s:o, s:o}", "mean", milliseconds(latency_mean(latency)), "p50",
                milliseconds(latency_quantile(latency, 0.5)), "p90", milliseconds(latency_quantile(latency, 0.9)),
                "p99", milliseconds(latency_quantile(latency, 0.99)), "max", milliseconds(latency->max_usec));
}

/* for people */

const char *tally_line(const Tally *tally, char *place, size_t size) {
        char shown[3][SHOWN_MAX];

        (void)snprintf(place, size, "p50 %s  p99 %s", show_duration(shown[0], latency_quantile(&tally->latency, 0.5)),
                show_duration(shown[1], latency_quantile(&tally->latency, 0.99)));
        if (tally_n_errors(tally) > 0)
                (void)snprintf(place + strlen(place), size - strlen(place), "  %s failed",
                        show_number(shown[2], tally_n_errors(tally)));
        return place;
}

void tally_print(const Tally *tally, const Screen *screen, FILE *file) {
        const Latency *latency = &tally->latency;
        char shown[5][SHOWN_MAX];

        if (latency->count > 0)
                (void)fprintf(file, "latency: p50 %s, p90 %s, p99 %s, max %s, mean %s\n",
                        show_duration(shown[0], latency_quantile(latency, 0.5)),
                        show_duration(shown[1], latency_quantile(latency, 0.9)),
                        show_duration(shown[2], latency_quantile(latency, 0.99)),
                        show_duration(shown[3], latency->max_usec), show_duration(shown[4], latency_mean(latency)));
        for (size_t i = 0; i < _TALLY_OUTCOME_MAX; i++)
                if (tally->n[i] > 0)
                        (void)fprintf(file, "%s%11s%s %s\n", screen_on(screen, screen_state_colour(outcome_names[i])),
                                outcome_names[i], screen_off(screen, screen_state_colour(outcome_names[i])),
                                show_number(shown[0], tally->n[i]));
        for (size_t i = 0; i < tally->n_codes; i++) {
                char code[2 * TALLY_CODE_SIZE], example[2 * TALLY_EXAMPLE_SIZE];

                (void)screen_text(code, sizeof(code), tally->codes[i].code);
                (void)screen_text(example, sizeof(example), tally->codes[i].example);
                (void)fprintf(file, "  %s %s%s%s%s%s\n", show_number(shown[0], tally->codes[i].n), code,
                        screen_on(screen, COLOUR_FAINT), example[0] ? ", as: " : "", example,
                        screen_off(screen, COLOUR_FAINT));
        }
}
