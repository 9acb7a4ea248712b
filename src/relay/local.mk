# splitrelay: everything but main() is a library, for the tests and for splitctl.
