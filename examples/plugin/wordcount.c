/* SPDX-License-Identifier: MIT */

/*
 * wordcount: counts words, and remembers how many it has seen. An agent of it takes triggers {"text": "some words"} and
 * answers {"words": 2, "total_words": 40, "total_texts": 9}; what is published to a topic it is subscribed to is
 * counted as text. With the parameter `publish_to` it also publishes what it answers to that topic.
 *
 * An example of a plugin: all hooks, parameters, state, a wish. For JSON it uses jansson; any library will do.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <compozy/behavior.h>
#include <jansson.h>

typedef struct WordCount {
        char *publish_to; /* NULL: nowhere */
        json_int_t words, texts;
} WordCount;

static void wordcount_free(WordCount *count) {
        free(count->publish_to);
        free(count);
}

static json_int_t count_words(const char *text, size_t size) {
        json_int_t n = 0;
        int in_word = 0;

        for (size_t i = 0; i < size; i++) {
                const int is_space = isspace((unsigned char)text[i]);

                n += !is_space && !in_word;
                in_word = !is_space;
        }
        return n;
}

/* Says why not, too. */
static int refuse(compozy_call *call, int result, const char *why) {
        (void)call->host->fail(call, NULL, compozy_text(why));
        return result;
}

static int read_parameters(WordCount *count, compozy_call *call, compozy_bytes parameters) {
        const char *publish_to = NULL;
        json_error_t error;
        json_t *object;
        int r = COMPOZY_OK;

        if (!parameters.data)
                return COMPOZY_OK;

        object = json_loadb(parameters.data, parameters.size, 0, &error);
        if (!object)
                return refuse(call, COMPOZY_E_REFUSED, error.text);
        if (json_unpack_ex(object, &error, 0, "{s?s}", "publish_to", &publish_to) != 0)
                r = refuse(call, COMPOZY_E_REFUSED, "parameters: publish_to must be a text");
        if (r == COMPOZY_OK && publish_to) {
                count->publish_to = strdup(publish_to);
                if (!count->publish_to)
                        r = COMPOZY_E_MEMORY;
        }
        json_decref(object);
        return r;
}

/* What checkpoint() wrote, in this or in an earlier version of this file: so it has a version in it. */
static int read_state(WordCount *count, compozy_call *call, compozy_bytes state) {
        json_int_t version = 0;
        json_t *object;
        int r = COMPOZY_OK;

        if (!state.data)
                return COMPOZY_OK;

        object = json_loadb(state.data, state.size, 0, NULL);
        if (!object || json_unpack(object, "{s:I, s:I, s:I}", "version", &version, "words", &count->words, "texts",
                               &count->texts) != 0)
                r = refuse(call, COMPOZY_E_STATE, "the state is not one of a wordcount");
        else if (version != 1)
                r = refuse(call, COMPOZY_E_STATE, "the state was written by a later version of wordcount");
        json_decref(object);
        return r;
}

static int wordcount_init(compozy_call *call, const compozy_start *start, void **ret_agent) {
        WordCount *count = calloc(1, sizeof(*count));
        int r;

        if (!count)
                return COMPOZY_E_MEMORY;

        r = read_parameters(count, call, start->parameters);
        if (r == COMPOZY_OK)
                r = read_state(count, call, start->state);
        if (r != COMPOZY_OK) {
                wordcount_free(count);
                return r;
        }

        *ret_agent = count;
        return COMPOZY_OK;
}

static void wordcount_stop(void *agent) {
        wordcount_free(agent);
}

/* Answers, and publishes the same. What these functions of the host refuse can only be a mistake in here, or in the
 * parameters: it goes to the caller. */
static void answer(WordCount *count, compozy_call *call, json_int_t words) {
        json_t *object =
                json_pack("{s:I, s:I, s:I}", "words", words, "total_words", count->words, "total_texts", count->texts);
        char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

        if (!text)
                (void)call->host->fail(call, NULL, compozy_text("memory is out"));
        else if (count->publish_to && call->host->publish(call, compozy_text(count->publish_to), compozy_text(text),
                                              NULL, 0, 0) != COMPOZY_OK)
                (void)call->host->fail(call, NULL, compozy_text("publish_to can't be published to"));
        else
                (void)call->host->output(call, compozy_text(text));

        free(text);
        json_decref(object);
}

static void count_text(WordCount *count, compozy_call *call, const char *text, size_t size) {
        const json_int_t words = count_words(text, size);

        count->words += words;
        count->texts++;
        answer(count, call, words);
}

static void on_trigger(WordCount *count, compozy_call *call, compozy_bytes input) {
        json_t *object = json_loadb(input.data, input.size, JSON_DECODE_ANY, NULL);
        const char *text = NULL;
        size_t size = 0;

        if (object && json_unpack(object, "{s:s%}", "text", &text, &size) == 0)
                count_text(count, call, text, size);
        else
                (void)call->host->fail(call, "INVALID_MESSAGE", compozy_text("input: text must be there, and a text"));
        json_decref(object);
}

static void wordcount_handle(void *agent, compozy_call *call, const compozy_message *message) {
        switch (message->kind) {
        case COMPOZY_TRIGGER:
                on_trigger(agent, call, message->input);
                break;
        case COMPOZY_TOPIC:
                count_text(agent, call, message->input.data, message->input.size);
                break;
        default: /* it asks for nothing, so nothing else should come; later versions may have further kinds */
                break;
        }
}

static int wordcount_checkpoint(void *agent, compozy_call *call) {
        const WordCount *count = agent;
        json_t *object = json_pack("{s:i, s:I, s:I}", "version", 1, "words", count->words, "texts", count->texts);
        char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
        int r = COMPOZY_E_MEMORY;

        if (text)
                r = call->host->output(call, compozy_text(text));
        free(text);
        json_decref(object);
        return r;
}

const compozy_behavior compozy_behavior_table = {
        COMPOZY_BEHAVIOR_HEAD,
        "wordcount",
        "counts words; answers {words, total_words, total_texts}",
        wordcount_init,
        wordcount_stop,
        wordcount_handle,
        wordcount_checkpoint,
};
