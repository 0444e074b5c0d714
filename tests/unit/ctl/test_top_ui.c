/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "ctl/top_details.h"
#include "ctl/top_ui.h"
#include "tests/unit/ctl/top_answers.h"

typedef struct Fixture {
        TopModel model;
        TopUi ui;
} Fixture;

static void begin(Fixture *f, unsigned n_runtimes) {
        top_model_init(&f->model);
        top_ui_init(&f->ui);
        f->ui.n_visible = 5;
        top_model_tick(&f->model, true, SECOND);
        tell_dispatcher(&f->model, "d1", 0, 3, 4);
        tell_runtimes(&f->model, 0, 0, n_runtimes, "live", 0);
        top_model_swept(&f->model);
        assert_int_equal(top_ui_refresh(&f->ui, &f->model), 0);
}

static void end(Fixture *f) {
        top_ui_done(&f->ui);
        top_model_done(&f->model);
}

static TopAction press(Fixture *f, const char *keys) {
        TopAction action = { 0 };

        for (; *keys; keys++)
                action = top_ui_key(&f->ui, &f->model, (unsigned char)*keys);
        return action;
}

static const char *selected(const Fixture *f) {
        const TopTab *tab = &f->ui.tabs[f->ui.page];

        assert_true(tab->cursor < f->ui.rows.n_items);
        assert_true(tab->cursor >= tab->first && tab->cursor < tab->first + f->ui.n_visible);
        return ((const TopRuntime *)f->ui.rows.items[tab->cursor])->id;
}

static void test_the_cursor_moves_within_bounds_and_stays_in_sight(void **state) {
        Fixture f;

        (void)state;
        begin(&f, 20);
        press(&f, "kkk");
        assert_string_equal(selected(&f), "r00000");
        press(&f, "jjjjjjj");
        assert_string_equal(selected(&f), "r00007");
        press(&f, "G");
        assert_string_equal(selected(&f), "r00019");
        press(&f, "jj");
        assert_string_equal(selected(&f), "r00019");
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_PAGE_UP);
        assert_string_equal(selected(&f), "r00015");
        press(&f, "g");
        assert_string_equal(selected(&f), "r00000");
        end(&f);
}

static void test_the_cursor_follows_its_row_while_rows_come_and_go(void **state) {
        Fixture f;

        (void)state;
        begin(&f, 10);
        press(&f, "jjj");
        tell_runtimes(&f.model, 0, 2, 8, "live", 0); /* two before it are gone */
        top_model_swept(&f.model);
        assert_int_equal(top_ui_refresh(&f.ui, &f.model), 0);
        assert_string_equal(selected(&f), "r00003");
        tell_runtimes(&f.model, 0, 9, 1, "live", 0);
        top_model_swept(&f.model);
        assert_int_equal(top_ui_refresh(&f.ui, &f.model), 0);
        assert_string_equal(selected(&f), "r00009"); /* the only one left */
        tell_runtimes(&f.model, 0, 0, 0, "live", 0);
        top_model_swept(&f.model);
        assert_int_equal(top_ui_refresh(&f.ui, &f.model), 0);
        press(&f, "jkGgd");
        assert_int_equal(f.ui.question.kind, TOP_ACTION_NONE);
        end(&f);
}

static void test_every_table_sorts_by_every_column_both_ways(void **state) {
        Fixture f;

        (void)state;
        begin(&f, 50);
        tell_agent(&f.model, "r00001", "a", 5, 2);
        tell_agent(&f.model, "r00001", "b", 7, 2);
        for (TopTable table = 0; table < _TOP_TABLE_MAX; table++) {
                size_t n;
                const TopColumn *columns = top_columns(table, &n);

                assert_true(n <= TOP_COLUMNS_MAX);
                for (size_t c = 0; c < 2 * n; c++) {
                        const TopQuery query = { .table = table, .filter = "", .sort = c / 2, .is_reversed = c % 2 };
                        const TopColumn *column = &columns[c / 2];

                        assert_true((column->text != NULL) != (column->number != NULL));
                        assert_true(strlen(column->title) <= column->width);
                        assert_int_equal(top_rows(&f.model, &query, &f.ui.rows), 0);
                        for (size_t i = 1; i < f.ui.rows.n_items; i++) {
                                const void *before = f.ui.rows.items[i - 1], *after = f.ui.rows.items[i];
                                const double order =
                                        column->text
                                                ? strcmp(column->text(&f.model, after), column->text(&f.model, before))
                                                : column->number(&f.model, before) - column->number(&f.model, after);

                                assert_true(query.is_reversed ? order <= 0 : order >= 0);
                        }
                }
        }
        end(&f);
}

static void test_narrow_screens_leave_out_what_matters_least_and_wide_ones_are_filled(void **state) {
        (void)state;
        for (TopTable table = 0; table < _TOP_TABLE_MAX; table++) {
                size_t n, before = 0;
                const TopColumn *columns = top_columns(table, &n);

                for (unsigned width = 20; width <= 300; width++) {
                        unsigned widths[TOP_COLUMNS_MAX], used = 0;
                        size_t n_shown = 0;

                        top_widths(table, width, widths);
                        for (size_t i = 0; i < n; i++) {
                                assert_true(widths[i] == 0 || widths[i] >= columns[i].width);
                                assert_true(widths[i] > 0 || columns[i].rank > 0);
                                used += widths[i] > 0 ? widths[i] + (n_shown > 0) : 0;
                                n_shown += widths[i] > 0;
                        }
                        assert_true(used <= width || n_shown == before || before == 0);
                        assert_true(n_shown >= before);
                        before = n_shown;
                }
                assert_int_equal(before, n);
        }
}

static void test_a_filter_looks_into_ids_states_and_labels(void **state) {
        Fixture f;

        (void)state;
        begin(&f, 20);
        press(&f, "/ZONE=A");
        assert_true(f.ui.is_filtering);
        assert_int_equal(f.ui.rows.n_items, 10);
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_ENTER);
        press(&f, "j");
        assert_string_equal(selected(&f), "r00003");
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_ESCAPE);
        assert_int_equal(f.ui.rows.n_items, 20);
        press(&f, "/q"); /* a letter of the filter, not the key that quits */
        assert_int_equal(f.ui.rows.n_items, 0);
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_BACKSPACE);
        assert_int_equal(f.ui.rows.n_items, 20);
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_BACKSPACE);
        assert_false(f.ui.is_filtering);
        end(&f);
}

static void test_nothing_is_drained_without_a_yes(void **state) {
        Fixture f;
        char text[300];
        TopAction action;

        (void)state;
        begin(&f, 5);
        press(&f, "jd");
        assert_string_equal(top_ui_question(&f.ui, text, sizeof(text)), "Drain runtime r00001? (y/n)");
        assert_int_equal(press(&f, "n").kind, TOP_ACTION_NONE);
        assert_int_equal(press(&f, "dq").kind, TOP_ACTION_NONE); /* no, and no quitting either */
        action = press(&f, "dy");
        assert_int_equal(action.kind, TOP_ACTION_DRAIN);
        assert_string_equal(action.runtime_id, "r00001");
        assert_string_equal(top_action_verb(action.kind), "drain_runtime");
        assert_int_equal(press(&f, "ry").kind, TOP_ACTION_RESUME);
        assert_int_equal(press(&f, "py").kind, TOP_ACTION_NONE); /* that is no agent */
        assert_int_equal(press(&f, "3dy").kind, TOP_ACTION_NONE);
        end(&f);
}

static void test_one_looks_into_a_runtime_its_agents_and_back(void **state) {
        Fixture f;
        TopAction action;

        (void)state;
        begin(&f, 5);
        tell_agent(&f.model, "r00001", "tom", 5, 1);
        tell_agent(&f.model, "r00002", "tim", 5, 1);
        press(&f, "j");
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_ENTER);
        assert_int_equal(f.ui.page, TOP_PAGE_RUNTIME);
        assert_int_equal(f.ui.rows.n_items, 1); /* its own only */
        assert_int_equal(press(&f, "dy").kind, TOP_ACTION_DRAIN);
        action = press(&f, "py");
        assert_int_equal(action.kind, TOP_ACTION_PAUSE_AGENT);
        assert_string_equal(action.agent_id, "tom");
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_ENTER);
        assert_int_equal(f.ui.page, TOP_PAGE_AGENT);
        assert_int_equal(press(&f, "py").kind, TOP_ACTION_PAUSE_AGENT);
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_ESCAPE);
        assert_int_equal(f.ui.page, TOP_PAGE_RUNTIME);
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_BACKSPACE);
        assert_int_equal(f.ui.page, TOP_PAGE_RUNTIMES);
        assert_string_equal(selected(&f), "r00001"); /* where one was */
        (void)top_ui_key(&f.ui, &f.model, TOP_KEY_ESCAPE);
        assert_int_equal(f.ui.page, TOP_PAGE_RUNTIMES);
        assert_int_equal(press(&f, "q").kind, TOP_ACTION_QUIT);
        end(&f);
}

static void test_random_keys_never_leave_the_ground(void **state) {
        static const int keys[] = { 'j', 'k', 'g', 'G', ' ', 's', 'S', '<', '>', '/', 'a', '0', '1', '2', '3', 'd', 'r',
                'p', 'y', 'n', '?', 'h', TOP_KEY_UP, TOP_KEY_DOWN, TOP_KEY_PAGE_UP, TOP_KEY_PAGE_DOWN, TOP_KEY_HOME,
                TOP_KEY_END, TOP_KEY_ENTER, TOP_KEY_ESCAPE, TOP_KEY_BACKSPACE, TOP_KEY_TAB };
        static TopLines lines;
        Fixture f;
        unsigned seed = 7;

        (void)state;
        begin(&f, 30);
        for (int i = 0; i < 50000; i++) {
                (void)top_ui_key(&f.ui, &f.model, keys[(unsigned)rand_r(&seed) % ELEMENTSOF(keys)]);
                if (i % 10 == 0) {
                        tell_runtimes(
                                &f.model, 0, (unsigned)rand_r(&seed) % 20, (unsigned)rand_r(&seed) % 20, "live", i);
                        top_model_swept(&f.model);
                        tell_agent(&f.model, "r00003", rand_r(&seed) % 2 ? "tom" : "tim", i, rand_r(&seed) % 3);
                        top_model_tick(&f.model, true, SECOND + (uint64_t)i * 1000);
                        f.ui.n_visible = (size_t)(rand_r(&seed) % 9);
                        assert_int_equal(top_ui_refresh(&f.ui, &f.model), 0);
                }
                top_details_runtime(&f.model, f.ui.runtime_id, &lines);
                top_details_agent(&f.model, f.ui.runtime_id, f.ui.agent_id, &lines);
                top_details_dispatcher(&f.model, f.ui.dispatcher_id, &lines);
                assert_true(f.ui.tabs[f.ui.page].cursor == 0 || !top_page_has_rows(f.ui.page) ||
                            f.ui.tabs[f.ui.page].cursor < f.ui.rows.n_items);
        }
        end(&f);
}

static void test_a_dispatcher_shows_its_histogram(void **state) {
        static TopLines lines;
        bool found = false;
        Fixture f;

        (void)state;
        begin(&f, 1);
        top_details_dispatcher(&f.model, "d1", &lines);
        for (size_t i = 0; i < lines.n_items; i++)
                found |= strstr(lines.items[i].name, "longer") && strcmp(lines.items[i].value, "4") == 0 &&
                         lines.items[i].bar == 1;
        assert_true(found);
        end(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_cursor_moves_within_bounds_and_stays_in_sight),
                cmocka_unit_test(test_the_cursor_follows_its_row_while_rows_come_and_go),
                cmocka_unit_test(test_every_table_sorts_by_every_column_both_ways),
                cmocka_unit_test(test_narrow_screens_leave_out_what_matters_least_and_wide_ones_are_filled),
                cmocka_unit_test(test_a_filter_looks_into_ids_states_and_labels),
                cmocka_unit_test(test_nothing_is_drained_without_a_yes),
                cmocka_unit_test(test_one_looks_into_a_runtime_its_agents_and_back),
                cmocka_unit_test(test_random_keys_never_leave_the_ground),
                cmocka_unit_test(test_a_dispatcher_shows_its_histogram),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
