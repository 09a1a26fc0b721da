"""The kernel lab: run a command, or the project's tests, under other kernels.

A guest is a Debian kernel that boots in QEMU with this machine's files as a throw-away root. `README.md`
tells how to use it; `python -m tests.kernels --help` is the short of it. The way of a run, file by file:

    catalogue   the kernels there are, and the Debian suites they come from
    sources     the Debian mirror this machine itself uses
    resolve     from a metapackage to the packages that hold today's kernel
    apt         a private apt: its own lists, never the machine's
    store       fetched kernels, cached outside the checkout
    modules     what a kernel must load before it can see its root, in order
    cpio        the archive format of an initramfs
    guest       what goes into the guest: its init, its command, its environment
    fileserver  how files get there: virtiofsd, of either make
    qemu        the machine, as a QEMU command line
    ports       the pipes through which the guest speaks
    boot        start all that, stream the output, bring back the exit code
    campaign    one command under several kernels, and the summary
    suite       which tests `test` runs
    cli         the command line
"""
