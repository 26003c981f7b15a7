#!/bin/busybox sh
# The stand-in for Windows: Wine with our network provider, and the agent on COM2. Debug text goes to COM1.
export WINEPREFIX=/wine WINESERVER=/usr/lib/wine/wineserver64 WINEDEBUG=-all,warn+debugstr
export WINEDLLOVERRIDES="netio.sys=n;mscoree,mshtml,winemenubuilder.exe="
# The provider holds one Linux socket per connection inside a Wine process.
ulimit -n 65536
# Through a pipe: with a terminal as its stderr, Wine would start a console program and talk to it in escape sequences.
# The text goes onto the screen too. tee writes to its output last; here that is COM1: whoever hears of a crash there
# finds it on the screen already. The agent serves for ever: its end is told on the console, where the lab listens.
{
    /usr/lib/wine/wine64 'C:\wsklab\wskagent.exe' < /dev/null 2>&1 > /dev/null
    echo "WSKLAB-GONE the agent has ended, with status $?" > /dev/ttyS2
} | tee /dev/tty1 > /dev/ttyS0
