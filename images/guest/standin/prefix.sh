# Makes the Wine prefix of the stand-in, and cuts Wine down to the modules named here.
kept="
# what every program loads
advapi32.dll apisetschema.dll gdi32.dll kernel32.dll kernelbase.dll msvcrt.dll ntdll.dll rpcrt4.dll sechost.dll
ucrtbase.dll user32.dll version.dll win32u.dll zlib1.dll
# services and drivers
cng.sys fltmgr.sys hal.dll hidclass.sys hidparse.sys http.sys ksecdd.sys mountmgr.sys ndis.sys netio.sys nsiproxy.sys
ntoskrnl.exe plugplay.exe rpcss.exe scsiport.sys services.exe svchost.exe tdi.sys usbd.sys wineboot.exe winedevice.exe
# sockets
dnsapi.dll iphlpapi.dll mswsock.dll nsi.dll ws2_32.dll wsock32.dll
# what programs on the target may load
bcrypt.dll cfgmgr32.dll combase.dll comctl32.dll crypt32.dll dbghelp.dll imagehlp.dll imm32.dll mpr.dll netapi32.dll
ole32.dll oleaut32.dll powrprof.dll psapi.dll rsaenh.dll secur32.dll setupapi.dll shcore.dll shell32.dll shlwapi.dll
userenv.dll winmm.dll wintrust.dll
# tools
cmd.exe conhost.exe explorer.exe hostname.exe ipconfig.exe net.exe ping.exe reg.exe regedit.exe rundll32.exe sc.exe
start.exe taskkill.exe tasklist.exe where.exe whoami.exe winepath.exe
"
modules=/usr/lib/x86_64-linux-gnu/wine/x86_64-windows

# What the package's own configuration would do: Wine loads zlib only with its mark at this place in the file.
zlib=/usr/x86_64-w64-mingw32/lib/zlib1.dll
{
    head -c 64 $zlib
    printf 'Wine builtin DLL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
    tail -c +97 $zlib
} > $modules/zlib1.dll

export HOME=/root WINEPREFIX=/wine WINESERVER=/usr/lib/wine/wineserver64 WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
mkdir /wine
/usr/lib/wine/wine64 wineboot --init
cat > /wine/drive_c/settings.reg <<'END'
REGEDIT4

; Nothing but the service manager runs until somebody asks for it: a Wine process takes a second to start.
[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\Eventlog]
"Start"=dword:00000003
[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\MountMgr]
"Start"=dword:00000003
[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\NDIS]
"Start"=dword:00000003
[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\nsiproxy]
"Start"=dword:00000003
[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\PlugPlay]
"Start"=dword:00000003

; No screen.
[HKEY_CURRENT_USER\Software\Wine\Drivers]
"Graphics"="null"
END
/usr/lib/wine/wine64 regedit /S 'C:\settings.reg'
/usr/lib/wine/wineserver64 -w
rm /wine/drive_c/settings.reg
# Nine tenths of the registry: which program opens what, the time zones of the world, telephones by country. The server
# reads all of it at every boot, and writes it half a minute later: after a restore, whose clock is ahead by that, at once.
awk '/^\[/ { skip = /^\[Software\\\\(Classes|Wow6432Node|Microsoft\\\\Windows( NT)?\\\\CurrentVersion\\\\(Time Zones|Telephony))\\\\/ }
    !skip' /wine/system.reg > /wine/small.reg
mv /wine/small.reg /wine/system.reg
# The prefix is never brought up to date by itself.
echo disable > /wine/.update-timestamp

# Wine copied every module into the prefix; links to the few that stay serve as well.
windows=/wine/drive_c/windows
mv $modules $modules.all
rm -r $windows
mkdir -p $modules $windows/system32/drivers $windows/temp
for file in $(echo "$kept" | grep -v '^#'); do
    cp $modules.all/$file $modules/
    case $file in
    *.sys) ln -s $modules/$file $windows/system32/drivers/ ;;
    *) ln -s $modules/$file $windows/system32/ ;;
    esac
done
ln -s /dev/ttyS1 /wine/dosdevices/com2
