# Check programs test_<module>.c, fuzzers fuzz_<parser>.c, integration tests it_<behaviour>.py.
AM_TESTS_ENVIRONMENT = SPLIT_BUILD_DIR='$(abs_top_builddir)'; export SPLIT_BUILD_DIR;
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = python3
TESTS += $(check_PROGRAMS)
