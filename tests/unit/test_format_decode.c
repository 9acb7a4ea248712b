/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "format/format_decode.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *name, *converter; /* NULL: not known */
} names[] = {
    {"utf-8", "UTF-8"},        {"UTF-8", "UTF-8"},
    {"us-ascii", "UTF-8"},     {"iso-8859-15", "ISO-8859-15"},
    {"gb2312", "GB18030"},     {"", NULL},
    {"utf-7", NULL},           {"ISO-2022-CN-EXT", NULL},
    {"utf-8//TRANSLIT", NULL}, {"../../tmp/x", NULL},
};

START_TEST(names_of_charsets)
{
    const char *found = format_decode_charset(names[_i].name, strlen(names[_i].name));

    ck_assert_pstr_eq(found, names[_i].converter);
}
END_TEST

static const struct {
    const char *type, *converter;
} types[] = {
    {"text/plain; charset=koi8-r", "KOI8-R"},
    {"text/plain; format=flowed ; CHARSET = \"windows-1252\"; x=y", "CP1252"},
    {"text/plain;charset=utf-8(comment)", NULL},
    {"text/plain; xcharset=koi8-r", NULL},
    {"text/plain; charset", NULL},
    {"text/plain; charset; charset=gbk", "GB18030"},
    {"text/plain; charset=", NULL},
    {"text/plain", NULL},
    {"", NULL},
};

START_TEST(charset_of_a_type)
{
    ck_assert_pstr_eq(format_decode_charset_of(types[_i].type), types[_i].converter);
}
END_TEST

static const struct {
    const char *charset, *text, *expect;
} texts[] = {
    {NULL, "", ""},
    {NULL, "plain ?= =? =?x?= =", "plain ?= =? =?x?= ="},
    /* RFC 2047, section 8 */
    {NULL, "=?ISO-8859-1?Q?a?=", "a"},
    {NULL, "=?ISO-8859-1?Q?a?= b", "a b"},
    {NULL, "=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"},
    {NULL, "=?ISO-8859-1?Q?a?=  \t =?ISO-8859-2?Q?b?=", "ab"},
    {NULL, "=?ISO-8859-1?Q?a_b?=", "a b"},
    {NULL, "=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"},
    {NULL, "=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"},
    {NULL,
     "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= "
     "=?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
     "If you can read this you understand the example."},
    {NULL, "=?ISO-8859-1?Q?Andr=E9?= Pirard", "Andr\xc3\xa9 Pirard"},
    /* what mail programs write */
    {NULL, "Re:=?utf-8?q?=c3=a4?=.", "Re:\xc3\xa4."},
    {NULL, "=?utf-8?Q?a b?==?utf-8?Q?c?=", "a bc"},
    {NULL, "=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=", "\xc3\xa4"},
    {NULL, "=?utf-8?B?ww==?= =?utf-8?Q?=A4?=", "\xc3\xa4"},
    {NULL, "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= x", "\xe6\x97\xa5\xe6\x9c\xac x"},
    {NULL, "=?big5?B?pEA=?=", "\xe4\xb8\x80"},
    {NULL, "=?windows-1255?Q?=F9?=", "\xd7\xa9"}, /* a converter that holds a character back */
    {NULL, "=?gb2312?B?ytbKtw==?=", "\xe6\x89\x8b\xe5\x8f\xb2"},
    {NULL,
     "=?utf-8?Q?"
     "?=x",
     "x"},
    {NULL, "=?utf-8?Q?=?= =?utf-8?Q?=X1=4?=", "==X1=4"},
    /* not decoded twice */
    {NULL, "=?utf-8?Q?=3D=3Futf-8=3FQ=3Fx=3F=3D?=", "=?utf-8?Q?x?="},
    /* no words: they stay, with the blanks around them */
    {NULL, "=?x-unknown?Q?a?= =?utf-8?Q?b?=", "=?x-unknown?Q?a?= b"},
    {NULL, "=?utf-8?Q?a?= =?x-unknown?Q?b?= =?utf-8?Q?c?=", "a =?x-unknown?Q?b?= c"},
    {NULL, "=?utf-8?B?a*b?= =?utf-8?X?a?= =?utf-8?Q?a?b?=",
     "=?utf-8?B?a*b?= =?utf-8?X?a?= =?utf-8?Q?a?b?="},
    {NULL, "=?utf-8?Q?open", "=?utf-8?Q?open"},
    {NULL, "=?utf-8?Q?open?", "=?utf-8?Q?open?"},
    {NULL, "=?utf-8", "=?utf-8"},
    {NULL, "=?utf 8?Q?a?=", "=?utf 8?Q?a?="},
    {NULL, "=??Q?a?=", "=??Q?a?="},
    /* what a charset does not define, and what is cut off */
    {NULL, "=?windows-1252?Q?a=81b?=", "a?b"},
    {NULL, "=?euc-jp?Q?=A4?=", "?"},
    {NULL, "=?utf-8?Q?a=00b=0D=0A?=", "a?b\r\n"},
    /* bytes outside of words */
    {NULL, "a\xe4 =?utf-8?Q?b?=", "a\xe4 b"},
    {"ISO-8859-1", "a\xe4 =?utf-8?Q?b?=\xfc", "a\xc3\xa4 b\xc3\xbc"},
    {"ISO-8859-1", "a\xc3\xa4", "a\xc3\xa4"}, /* UTF-8 in spite of the declaration */
    {"UTF-8", "a\xe4", "a\xe4"},
};

START_TEST(text_of_a_field)
{
    struct buf out = {0};

    format_decode(texts[_i].text, strlen(texts[_i].text), texts[_i].charset, &out);
    ck_assert_str_eq(buf_str(&out), texts[_i].expect);
    buf_clear(&out);
}
END_TEST

/* Longer than what is converted at a time; the second byte of a character is in the next piece. */
START_TEST(long_text)
{
    struct buf text = {0}, out = {0};

    for (size_t lead = 0; lead < 4; lead++) {
        buf_reset(&text);
        buf_reset(&out);
        buf_adds(&text, "=?euc-jp?Q?xxxx");
        buf_truncate(&text, text.len - lead);
        for (int i = 0; i < 1000; i++)
            buf_adds(&text, "=B0=A1");
        buf_adds(&text, "?=");
        format_decode(buf_str(&text), text.len, NULL, &out);
        ck_assert_uint_eq(out.len, 4 - lead + 3000);
        for (size_t i = 4 - lead; i < out.len; i += 3)
            ck_assert_int_eq(memcmp(out.data + i, "\xe4\xba\x9c", 3), 0);
    }
    buf_clear(&text);
    buf_clear(&out);
}
END_TEST

/* A C library without a converter leaves the bytes; this one has all of them. */
START_TEST(each_charset_has_a_converter)
{
    static const char *const all[] = {
        "iso-8859-2",   "iso-8859-3",   "iso-8859-4",   "iso-8859-5",   "iso-8859-6",
        "iso-8859-7",   "iso-8859-8",   "iso-8859-8-i", "iso-8859-9",   "iso-8859-10",
        "iso-8859-13",  "iso-8859-14",  "iso-8859-15",  "iso-8859-16",  "windows-874",
        "windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254",
        "windows-1255", "windows-1256", "windows-1257", "windows-1258", "koi8-r",
        "koi8-u",       "cp866",        "ibm866",       "tis-620",      "latin1",
        "cp1250",       "cp1251",       "cp1252",       "euc-kr",       "ks_c_5601-1987",
        "gbk",          "gb18030",      "big5",         "big5-hkscs",   "shift_jis",
    };

    for (size_t i = 0; i < UNIT_COUNT(all); i++) {
        char *text = mem_printf("=?%s?Q?=B0=A1?=", all[i]);
        struct buf out = {0};
        format_decode(text, strlen(text), NULL, &out);
        ck_assert_msg(out.len > 0 && strstr(buf_str(&out), "\xb0\xa1") == NULL &&
                          buf_str(&out)[0] != '=',
                      "%s: %s", all[i], buf_str(&out));
        buf_clear(&out);
        free(text);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("format_decode");

    tcase_add_loop_test(t, names_of_charsets, 0, UNIT_COUNT(names));
    tcase_add_loop_test(t, charset_of_a_type, 0, UNIT_COUNT(types));
    tcase_add_loop_test(t, text_of_a_field, 0, UNIT_COUNT(texts));
    tcase_add_test(t, long_text);
    tcase_add_test(t, each_charset_has_a_converter);
    return unit_run("format_decode", t);
}
