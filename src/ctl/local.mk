# splitctl
