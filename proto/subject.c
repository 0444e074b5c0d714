/* SPDX-License-Identifier: MIT */

/*
 * One table of patterns serves building and parsing, so the two cannot disagree. Parsing tries the patterns in turn:
 * nearly all differ from a given subject within a few characters, which costs less than anything cleverer would.
 */

#include "proto/id.h"
#include "proto/subject.h"

static const char *const patterns[_SUBJECT_KIND_MAX] = {
#define X(name, pattern) [SUBJECT_##name] = pattern,
        SUBJECTS(X)
#undef X
};

/* The bytes before the next dot, or all. */
static Slice first_token(Slice subject) {
        const char *dot = subject.size > 0 ? memchr(subject.data, '.', subject.size) : NULL;

        return (Slice){ subject.data, dot ? (size_t)(dot - subject.data) : subject.size };
}

/* What follows the token and its dot; absent after the last token. */
static Slice after_token(Slice subject, Slice token) {
        return token.size == subject.size ? SLICE_NONE : slice_after(subject, token.size + 1);
}

static bool token_is_wildcard(Slice token) {
        return token.size == 1 && (token.data[0] == '*' || token.data[0] == '>');
}

static bool token_is_valid(Slice token) {
        if (token.size == 0)
                return false;
        for (size_t i = 0; i < token.size; i++)
                if ((unsigned char)token.data[i] <= ' ' || token.data[i] == 0x7F)
                        return false;
        return true;
}

static bool is_valid(Slice subject, bool wildcards) {
        Slice rest = subject;

        if (!subject.data || subject.size == 0 || subject.size > SUBJECT_MAX)
                return false;

        while (rest.data) {
                const Slice token = first_token(rest);

                if (!token_is_valid(token))
                        return false;
                if (!wildcards && token_is_wildcard(token))
                        return false;
                rest = after_token(rest, token);
                if (rest.data && slice_equal(token, SLICE(">")))
                        return false; /* > stands for the rest: nothing may follow it */
        }
        return true;
}

bool subject_is_valid(Slice subject) {
        return is_valid(subject, /* wildcards= */ false);
}

bool subject_pattern_is_valid(Slice pattern) {
        return is_valid(pattern, /* wildcards= */ true);
}

bool subject_matches(Slice pattern, Slice subject) {
        while (pattern.data && subject.data) {
                const Slice want = first_token(pattern), have = first_token(subject);

                if (slice_equal(want, SLICE(">")))
                        return true;
                if (!slice_equal(want, SLICE("*")) && !slice_equal(want, have))
                        return false;
                pattern = after_token(pattern, want);
                subject = after_token(subject, have);
        }
        return !pattern.data && !subject.data;
}

void subject_build(Buffer *buffer, Slice prefix, SubjectKind kind, Slice first, Slice second) {
        assert(kind > SUBJECT_NONE && kind < _SUBJECT_KIND_MAX);

        buffer_append_slice(buffer, prefix);
        buffer_append_char(buffer, '.');
        for (const char *p = patterns[kind]; *p;) {
                const size_t run = strcspn(p, "%");

                buffer_append(buffer, p, run);
                p += run;
                if (*p == '%') {
                        buffer_append_slice(buffer, p[1] == '1' ? first : second);
                        p += 2;
                }
        }
}

/* Does all of `rest` fit the pattern? Then the ids are in `match`. */
static bool fits(const char *pattern, Slice rest, SubjectMatch *match) {
        for (; *pattern; pattern++) {
                if (*pattern == '%') {
                        const Slice id = first_token(rest);

                        if (!id_is_valid(id))
                                return false;
                        *(*++pattern == '1' ? &match->first : &match->second) = id;
                        rest = slice_after(rest, id.size);
                        continue;
                }
                if (rest.size == 0 || rest.data[0] != *pattern)
                        return false;
                rest = slice_after(rest, 1);
        }
        return rest.size == 0;
}

SubjectMatch subject_parse(Slice prefix, Slice subject) {
        if (!slice_starts_with(subject, prefix))
                return (SubjectMatch){ 0 };

        subject = slice_after(subject, prefix.size);
        if (subject.size < 2 || subject.data[0] != '.')
                return (SubjectMatch){ 0 };

        subject = slice_after(subject, 1);
        for (unsigned kind = SUBJECT_NONE + 1; kind < _SUBJECT_KIND_MAX; kind++) {
                SubjectMatch match = { .kind = (SubjectKind)kind };

                if (*patterns[kind] == *subject.data && fits(patterns[kind], subject, &match))
                        return match;
        }
        return (SubjectMatch){ 0 };
}

bool subject_may_receive_result(Slice prefix, Slice subject) {
        return subject_is_valid(subject) && subject_is_open_to_results(prefix, subject);
}

bool subject_is_open_to_results(Slice prefix, Slice subject) {
        Slice rest;

        if (subject.data[0] == '$')
                return false;
        if (!slice_starts_with(subject, prefix))
                return true;

        rest = slice_after(subject, prefix.size);
        if (rest.size == 0)
                return false; /* the bare prefix is ours as well */
        if (rest.data[0] != '.')
                return true; /* another word that begins alike */
        return slice_starts_with(rest, SLICE(".results."));
}

/* FNV-1a: names are an administrator's, so nobody chooses them to collide. */
static uint64_t hash_of(Slice role, Slice name) {
        const Slice parts[] = { role, SLICE("."), name };
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                for (size_t j = 0; j < parts[i].size; j++)
                        hash = (hash ^ (unsigned char)parts[i].data[j]) * UINT64_C(0x100000001b3);
        return hash | 1;
}

uint64_t subject_owner(Slice prefix, Slice subject) {
        static const char *const roles[] = { "caller", "operator", "runtime", "observer", "service" };
        const bool is_inbox = slice_starts_with(subject, SLICE("_INBOX."));
        Slice rest, role, name;

        if (is_inbox)
                rest = slice_after(subject, strlen("_INBOX."));
        else if (slice_starts_with(subject, prefix) &&
                 slice_starts_with(slice_after(subject, prefix.size), SLICE(".results.")))
                rest = slice_after(subject, prefix.size + strlen(".results."));
        else
                return 0;

        role = first_token(rest);
        rest = after_token(rest, role);
        name = rest.data ? first_token(rest) : SLICE_NONE;
        if (!name.data || !after_token(rest, name).data)
                return 0;
        for (size_t i = 0; i < (is_inbox ? ELEMENTSOF(roles) : 1); i++)
                if (slice_equal(role, slice_of(roles[i])))
                        return hash_of(role, name);
        return 0;
}
