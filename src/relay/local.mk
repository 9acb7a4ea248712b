# splitrelay: everything but main() is a library, for the tests and for splitctl.
noinst_LIBRARIES += librelay.a
librelay_a_SOURCES =
librelay_a_SOURCES += %D%/content.c %D%/content.h
