/* Text of fixed size: what fits, what does not, and how long it would be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"

#include <string.h>

static void what_fits(void **state) {
    char buf[16];
    atl_text text;

    (void)state;
    atl_text_init(&text, buf, sizeof(buf));
    atl_text_add(&text, "%d-%s", 12, "ab");
    atl_text_add(&text, "%s", "");
    assert_string_equal(buf, "12-ab");
    assert_int_equal(text.len, 5);
    atl_text_add(&text, "0123456789");
    assert_string_equal(buf, "12-ab0123456789");
    assert_int_equal(text.len, 15);
    assert_true(atl_text_fits(&text));
    atl_text_add(&text, "x");
    assert_false(atl_text_fits(&text));
}

/* The length goes on counting, and nothing behind the buffer is touched. */
static void what_does_not(void **state) {
    char buf[8] = "abcdefg";
    atl_text text;

    (void)state;
    atl_text_init(&text, buf, 4);
    atl_text_add(&text, "0123456789");
    atl_text_add(&text, "0123456789");
    assert_int_equal(text.len, 20);
    assert_false(atl_text_fits(&text));
    assert_memory_equal(buf, "012\0efg", 8);
    atl_text_init(&text, NULL, 0);
    atl_text_add(&text, "how long?");
    assert_int_equal(text.len, 9);
}

static void html(void **state) {
    char buf[64];
    atl_text text;

    (void)state;
    atl_text_init(&text, buf, sizeof(buf));
    atl_text_add_html(&text, "<a href=\"x\">&%s</a>");
    assert_string_equal(buf, "&lt;a href=&quot;x&quot;&gt;&amp;%s&lt;/a&gt;");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits),
        cmocka_unit_test(what_does_not),
        cmocka_unit_test(html),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
