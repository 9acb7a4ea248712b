# Check programs test_<module>.c, fuzzers fuzz_<parser>.c, integration tests it_<behaviour>.py.
AM_TESTS_ENVIRONMENT = SPLIT_BUILD_DIR='$(abs_top_builddir)'; export SPLIT_BUILD_DIR;
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = python3
TESTS += $(check_PROGRAMS)

if HAVE_CHECK
check_PROGRAMS += %D%/test_stream
%C%_test_stream_SOURCES = %D%/test_stream.c
%C%_test_stream_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
%C%_test_stream_LDADD = libsplit.a $(CHECK_LIBS)
endif
