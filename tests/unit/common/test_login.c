/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/nats_login.h"
#include "common/nkey.h"

typedef struct Scratch {
        char path[64];
        char seed[NKEY_SEED_SIZE], public_key[NKEY_PUBLIC_SIZE];
} Scratch;

static void scratch_write(const Scratch *scratch, const char *text) {
        FILE *file = fopen(scratch->path, "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void scratch_init(Scratch *ret) {
        int fd;

        (void)snprintf(ret->path, sizeof(ret->path), "/tmp/compozy-login-XXXXXX");
        fd = mkstemp(ret->path);
        assert_true(fd >= 0);
        (void)close(fd);
        assert_int_equal(nkey_generate(ret->seed, ret->public_key), 0);
}

static void scratch_done(Scratch *scratch) {
        (void)unlink(scratch->path);
}

static void a_file_without_what_is_wanted_is_refused_by_name(void **state) {
        _cleanup_(scratch_done) Scratch scratch;
        NatsLogin *login = NULL;
        NatsReason why = {};
        char damaged[128];

        (void)state;

        scratch_init(&scratch);
        scratch_write(&scratch, "nothing of that kind\n");
        assert_int_equal(nats_login_new(scratch.path, "nats.nkey_seed_file", false, &login, &why), -EINVAL);
        assert_non_null(strstr(why.text, "holds no valid user seed"));
        (void)snprintf(damaged, sizeof(damaged), "%s", scratch.seed);
        damaged[20] = damaged[20] == 'A' ? 'B' : 'A';
        scratch_write(&scratch, damaged);
        assert_int_equal(nats_login_new(scratch.path, "nats.nkey_seed_file", false, &login, &why), -EINVAL);
        scratch_write(&scratch, scratch.seed);
        assert_int_equal(nats_login_new(scratch.path, "nats.credentials", true, &login, &why), -EINVAL);
        assert_non_null(strstr(why.text, "nats.credentials"));
        assert_non_null(strstr(why.text, "JWT"));
        assert_int_equal(nats_login_new("/no/such/file", "nats.credentials", true, &login, &why), -ENOENT);
        assert_null(login);
}

static void seed_and_jwt_are_found_whatever_is_around_them(void **state) {
        _cleanup_(nats_login_freep) NatsLogin *login = NULL, *plain = NULL;
        _cleanup_(scratch_done) Scratch scratch;
        NatsReason why = {};
        char text[512];

        (void)state;

        scratch_init(&scratch);
        (void)snprintf(text, sizeof(text),
                "-----BEGIN NATS USER JWT-----\r\neyJ0eXAi.x.y\r\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n"
                "-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n",
                scratch.seed);
        scratch_write(&scratch, text);
        assert_int_equal(nats_login_new(scratch.path, "nats.credentials", true, &login, &why), 0);
        scratch_write(&scratch, scratch.seed);
        assert_int_equal(nats_login_new(scratch.path, "nats.nkey_seed_file", false, &plain, &why), 0);
}

/* One nonce in 256 has a signature that begins with a zero byte; nats.c sends that one as no signature at all. */
static void a_signature_that_nats_c_can_not_send_is_seen(void **state) {
        char seed[NKEY_SEED_SIZE], public_key[NKEY_PUBLIC_SIZE], nonce[16];
        unsigned n_bad = 0;

        (void)state;

        assert_int_equal(nkey_generate(seed, public_key), 0);
        for (unsigned i = 0; i < 4096 && n_bad == 0; i++) {
                unsigned char *signature = NULL;
                int size = 0;

                (void)snprintf(nonce, sizeof(nonce), "nonce-%u", i);
                assert_int_equal(nats_Sign(seed, nonce, &signature, &size), NATS_OK);
                assert_int_equal(size, 64);
                n_bad += !nats_login_can_send(signature);
                assert_true(nats_login_can_send(signature) == (signature[0] != 0));
                free(signature);
        }
        assert_int_equal(n_bad, 1); /* missed with a chance of 1 in nine million */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_file_without_what_is_wanted_is_refused_by_name),
                cmocka_unit_test(seed_and_jwt_are_found_whatever_is_around_them),
                cmocka_unit_test(a_signature_that_nats_c_can_not_send_is_seen),
        };
        int r;

        (void)nats_Open(-1);
        r = cmocka_run_group_tests(tests, NULL, NULL);
        nats_Close();
        return r;
}
