@echo off
rem Provisioning of an installed Windows guest, from the lab's own disc, as SYSTEM. Not yet run on Windows.
setlocal EnableExtensions DisableDelayedExpansion
set "SOURCE=%~d0"
for /f "tokens=2" %%n in (%~dp0wsklab.tag) do set "NONCE=%%n"
set "LAB=%SystemDrive%\wsklab"
if not exist "%LAB%\" mkdir "%LAB%"
xcopy.exe "%SOURCE%\*" "%LAB%\" /E /I /Q /Y /R >nul
if errorlevel 1 goto failed
powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "%LAB%\provision.ps1" >"%LAB%\provision.log" 2>&1
if errorlevel 1 goto failed
shutdown.exe /r /t 2 /f /d p:4:1 /c "wsklab set-up"
exit /b 0

:failed
>\\.\COM2 echo WSKLAB-SETUP %NONCE% fail step=provision.cmd see C:\wsklab\provision.log
exit /b 1
