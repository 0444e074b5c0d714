/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/nkey.h"

/* The pair of NATS's documentation. */
#define SEED "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
#define PUBLIC "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"

static void the_public_key_is_derived_from_the_seed(void **state) {
        char public_key[NKEY_PUBLIC_SIZE];

        (void)state;

        assert_int_equal(nkey_public_from_seed(SLICE(SEED), public_key), 0);
        assert_string_equal(public_key, PUBLIC);
}

static void what_is_no_intact_user_seed_is_refused(void **state) {
        static const char *const cases[] = {
                "",
                "SU",
                PUBLIC,
                "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3V",    /* one too few */
                "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VYAA", /* two too many */
                "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VA",   /* another checksum */
                "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYDU3VY",   /* another byte */
                "SAACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",   /* an account's */
                "suacssl3uahudxkfsnvuzrf5uhpmwz6bfdtj7m6usdxiednppqyyycu3vy",
                "SUACSSL3UAHUDXKF NVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
        };
        char public_key[NKEY_PUBLIC_SIZE];

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(nkey_public_from_seed(slice_of(cases[i]), public_key), -EINVAL);
}

static void a_new_key_is_a_user_seed_and_no_two_are_alike(void **state) {
        char seed[2][NKEY_SEED_SIZE], public_key[2][NKEY_PUBLIC_SIZE], derived[NKEY_PUBLIC_SIZE];

        (void)state;

        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(nkey_generate(seed[i], public_key[i]), 0);
                assert_int_equal(strlen(seed[i]), NKEY_SEED_SIZE - 1);
                assert_memory_equal(seed[i], "SU", 2);
                assert_int_equal(nkey_public_from_seed(slice_of(seed[i]), derived), 0);
                assert_string_equal(derived, public_key[i]);
        }
        assert_string_not_equal(seed[0], seed[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_public_key_is_derived_from_the_seed),
                cmocka_unit_test(a_new_key_is_a_user_seed_and_no_two_are_alike),
                cmocka_unit_test(what_is_no_intact_user_seed_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
