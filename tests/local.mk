# Check programs test_<module>.c, fuzzers fuzz_<parser>.c, integration tests it_<behaviour>.py.
AM_TESTS_ENVIRONMENT = SPLIT_BUILD_DIR='$(abs_top_builddir)'; export SPLIT_BUILD_DIR;
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = python3
AM_CFLAGS += $(CHECK_CFLAGS)
EXTRA_DIST += %D%/unit.h
UNIT_TESTS =
UNIT_LIBS = libsplit.a $(PCRE2_LIBS) $(CONFUSE_LIBS) $(SYSTEMD_LIBS) $(CHECK_LIBS)

# Unit tests, in alphabetical order.
UNIT_TESTS += %D%/test_buf
%C%_test_buf_SOURCES = %D%/test_buf.c
%C%_test_buf_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_err
%C%_test_err_SOURCES = %D%/test_err.c
%C%_test_err_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_log
%C%_test_log_SOURCES = %D%/test_log.c
%C%_test_log_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_process
%C%_test_process_SOURCES = %D%/test_process.c
%C%_test_process_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_stream
%C%_test_stream_SOURCES = %D%/test_stream.c
%C%_test_stream_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_utf8
%C%_test_utf8_SOURCES = %D%/test_utf8.c
%C%_test_utf8_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_xtext
%C%_test_xtext_SOURCES = %D%/test_xtext.c
%C%_test_xtext_LDADD = $(UNIT_LIBS)

if HAVE_CHECK
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
endif
