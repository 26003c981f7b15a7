@echo off
rem At every start until the guest is provisioned: runs what the lab's disc has. Without the disc nothing happens.
setlocal EnableExtensions DisableDelayedExpansion
for %%d in (D E F G) do if exist %%d:\provision.cmd (
    call %%d:\provision.cmd
    exit /b
)
