@echo off
rem First logon of a new Windows guest, from the disc of its set-up. %1 is the nonce of the build. Not yet run on Windows.
rem All it does is to have the disc of the next step run at every start, as SYSTEM, and to switch off: from then on a
rem mistake in that step costs minutes, for this state of the disk is kept.
setlocal EnableExtensions DisableDelayedExpansion
set "LAB=%SystemDrive%\wsklab"
if not exist "%LAB%\" mkdir "%LAB%"
copy /y "%~dp0start.cmd" "%LAB%\start.cmd"
if errorlevel 1 goto failed
schtasks.exe /create /f /tn wsklab-provision /sc onstart /ru SYSTEM /rl HIGHEST /tr "%LAB%\start.cmd"
if errorlevel 1 goto failed
rem A task has less than normal priority for processor and disk unless it says so, which schtasks cannot.
powershell.exe -NoLogo -NoProfile -NonInteractive -Command "$t = Get-ScheduledTask wsklab-provision; $t.Settings.Priority = 4; $null = $t | Set-ScheduledTask"
>\\.\COM2 echo WSKLAB-SETUP %~1 stage=installed
shutdown.exe /s /t 2 /f /d p:4:1 /c "wsklab set-up"
exit /b 0

:failed
>\\.\COM2 echo WSKLAB-SETUP %~1 fail step=firstlogon.cmd the task could not be made: has the user no rights?
exit /b 1
