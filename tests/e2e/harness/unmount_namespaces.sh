# Docker keeps the network namespaces of the host and of containers mounted, so lntu would find
# them beside those of a test. Run this in a mount namespace of its own.
grep ' - nsfs ' /proc/self/mountinfo | cut -d ' ' -f 5 | xargs -r umount
