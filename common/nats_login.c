/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nats_login.h"
#include "common/nkey.h"

#define FILE_BYTES_MAX 65536 /* a JWT with many permissions has some thousand */
#define ATTEMPTS_MAX 8       /* that many unlucky nonces in a row come once in 10^19 logins */

struct NatsLogin {
        char *path;
        const char *key;
        bool has_jwt;
        char public_key[NKEY_PUBLIC_SIZE];
        atomic_bool is_unlucky; /* the last nonce had a signature that can't be sent */
};

bool nats_login_can_send(const unsigned char *signature) {
        return signature[0] != 0;
}

static void wipe(char **text) {
        if (*text)
                explicit_bzero(*text, strlen(*text));
        free(*text);
}

static int read_text(const char *path, char **ret) {
        _cleanup_(wipe) char *text = calloc(1, FILE_BYTES_MAX + 1);
        FILE *file;
        int r = 0;

        if (!text)
                return -ENOMEM;
        file = fopen(path, "re");
        if (!file)
                return -errno;
        if (fread(text, 1, FILE_BYTES_MAX, file) == 0 && ferror(file))
                r = -EIO;
        (void)fclose(file);
        if (r == 0)
                *ret = TAKE_PTR(text);
        return r;
}

/* The first word that begins so; files decorate what they hold with lines of dashes and warnings. */
static Slice find_word(const char *text, const char *prefix) {
        while (*text != '\0') {
                const char *word = text + strspn(text, " \t\r\n");
                const size_t size = strcspn(word, " \t\r\n");

                if (strncmp(word, prefix, strlen(prefix)) == 0)
                        return (Slice){ word, size };
                text = word + size;
        }
        return SLICE_NONE;
}

/* `word`: "SU" of a seed, "eyJ" of a JWT. The caller wipes it. */
static int read_word(const NatsLogin *login, const char *prefix, char **ret) {
        _cleanup_(wipe) char *text = NULL;
        int r = read_text(login->path, &text);
        Slice word;

        if (r < 0)
                return r;
        assert(text);
        word = find_word(text, prefix);
        if (word.size == 0)
                return -EINVAL;
        *ret = slice_dup(word);
        return *ret ? 0 : -ENOMEM;
}

static int check(NatsLogin *login) {
        _cleanup_(wipe) char *seed = NULL, *jwt = NULL;
        int r = read_word(login, "SU", &seed);

        if (r == 0)
                r = nkey_public_from_seed(slice_of(seed), login->public_key);
        if (r == 0 && login->has_jwt)
                r = read_word(login, "eyJ", &jwt);
        return r;
}

int nats_login_new(const char *path, const char *key, bool has_jwt, NatsLogin **ret, NatsReason *ret_why) {
        _cleanup_(nats_login_freep) NatsLogin *login = calloc(1, sizeof(*login));
        int r;

        if (!login)
                return -ENOMEM;
        login->key = key;
        login->has_jwt = has_jwt;
        login->path = strdup(path);
        if (!login->path)
                return -ENOMEM;
        r = check(login);
        if (r == -EINVAL)
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "%s: %.120s holds no valid user %s", key, path,
                        has_jwt ? "JWT and seed" : "seed");
        else if (r < 0)
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "%s: %.120s: %s", key, path, strerror(-r));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(login);
        return 0;
}

NatsLogin *nats_login_free(NatsLogin *login) {
        if (!login)
                return NULL;
        free(login->path);
        free(login);
        return NULL;
}

/* what nats.c asks, on a thread of its own or of ours */

static natsStatus fail(const NatsLogin *login, int r, char **ret_error) {
        if (asprintf(ret_error, "%s: %s: %s", login->key, login->path, strerror(-r)) < 0)
                *ret_error = NULL;
        return r == -ENOMEM ? NATS_NO_MEMORY : NATS_INVALID_ARG;
}

static natsStatus on_jwt(char **ret_jwt, char **ret_error, void *closure) {
        const NatsLogin *login = closure;
        int r = read_word(login, "eyJ", ret_jwt);

        return r == 0 ? NATS_OK : fail(login, r, ret_error);
}

static natsStatus on_nonce(
        char **ret_error, unsigned char **ret_signature, int *ret_size, const char *nonce, void *closure) {
        _cleanup_(wipe) char *seed = NULL;
        NatsLogin *login = closure;
        unsigned char *signature = NULL;
        int r = read_word(login, "SU", &seed), size = 0;
        natsStatus s;

        if (r < 0)
                return fail(login, r, ret_error);
        s = nats_Sign(seed, nonce, &signature, &size);
        if (s != NATS_OK)
                return s;
        if (!nats_login_can_send(signature)) {
                free(signature);
                atomic_store(&login->is_unlucky, true);
                return NATS_ILLEGAL_STATE;
        }
        *ret_signature = signature;
        *ret_size = size;
        return NATS_OK;
}

natsStatus nats_login_apply(NatsLogin *login, natsOptions *options) {
        if (login->has_jwt)
                return natsOptions_SetUserCredentialsCallbacks(options, on_jwt, login, on_nonce, login);
        return natsOptions_SetNKey(options, login->public_key, on_nonce, login);
}

natsStatus nats_login_connect(NatsLogin *login, natsOptions *options, natsConnection **ret) {
        natsStatus s = NATS_OK;

        for (unsigned i = 0; i < ATTEMPTS_MAX; i++) {
                if (login)
                        atomic_store(&login->is_unlucky, false);
                s = natsConnection_Connect(ret, options);
                if (s == NATS_OK || !login || !atomic_load(&login->is_unlucky))
                        break;
        }
        return s;
}
