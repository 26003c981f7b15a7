# Makes an installed Windows ready for driver tests: at its start, as SYSTEM, without a network. Not yet run on Windows.
. (Join-Path $PSScriptRoot 'common.ps1')

$Control = 'HKLM:\SYSTEM\CurrentControlSet\Control'
$Services = 'HKLM:\SYSTEM\CurrentControlSet\Services'

$Steps = [ordered]@{}

$Steps['power'] = {
    foreach ($what in 'standby', 'monitor', 'disk', 'hibernate') {
        Invoke-Soft $what { Invoke-Program 'powercfg.exe' @('/change', "$what-timeout-ac", '0') }
    }
    # Refused where the firmware has no S4, which is what is wanted.
    Invoke-Soft 'hibernate' { Invoke-Program 'powercfg.exe' @('/hibernate', 'off') }
    Set-Registry "$Control\Session Manager\Power" 'HiberbootEnabled' 0
}

$Steps['certificate'] = {
    foreach ($store in 'Root', 'TrustedPublisher') {
        Invoke-Program 'certutil.exe' @('-f', '-addstore', $store, (Join-Path $Lab 'driver.cer'))
    }
}

# Windows asks before it takes a driver of a publisher it does not trust, on a screen that nobody sees.
$Steps['publishers'] = {
    foreach ($catalog in Get-ChildItem (Join-Path $Lab 'drivers') -Recurse -Filter '*.cat') {
        $signer = (Get-AuthenticodeSignature -LiteralPath $catalog.FullName).SignerCertificate
        if ($signer) {
            $file = Join-Path $Lab "publisher-$($signer.Thumbprint).cer"
            [IO.File]::WriteAllBytes($file, $signer.Export('Cert'))
            Invoke-Program 'certutil.exe' @('-f', '-addstore', 'TrustedPublisher', $file)
        }
    }
}

# 259: no such device here. 3010: done, wants a restart, which follows anyway.
$Steps['drivers'] = {
    Invoke-Program 'pnputil.exe' @('/add-driver', (Join-Path $Lab 'drivers\*.inf'), '/subdirs', '/install') @(0, 259, 3010)
}

$Steps['network'] = {
    foreach ($nic in $Settings.nics) {
        $mac = $nic.mac.Replace(':', '-').ToUpperInvariant()
        $adapter = $null
        # A card whose driver came a step ago may not be there at once.
        for ($try = 0; $try -lt 60 -and -not $adapter; $try++) {
            if ($try) { Start-Sleep -Seconds 1 }
            $adapter = Get-NetAdapter | Where-Object { $_.MacAddress -eq $mac }
        }
        if (-not $adapter) {
            throw "no network card has the address $mac"
        }
        if ($adapter.Name -ne $nic.name) {
            Rename-NetAdapter -Name $adapter.Name -NewName $nic.name
        }
        foreach ($address in $nic.addresses) {
            $ip, $length = $address.Split('/')
            if ($ip.Contains(':')) { $family = 'IPv6' } else { $family = 'IPv4' }
            Set-NetIPInterface -InterfaceAlias $nic.name -AddressFamily $family -Dhcp Disabled
            Get-NetIPAddress -InterfaceAlias $nic.name -AddressFamily $family -PrefixOrigin Manual -ErrorAction SilentlyContinue |
                Remove-NetIPAddress -Confirm:$false
            $null = New-NetIPAddress -InterfaceAlias $nic.name -IPAddress $ip -PrefixLength ([int]$length)
        }
    }
}

# What nobody asked for must not be on the wire: its frames are the evidence.
$Steps['silence'] = {
    Set-Registry 'HKLM:\SOFTWARE\Policies\Microsoft\Windows NT\DNSClient' 'EnableMulticast' 0
    Set-Registry 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\NetworkConnectivityStatusIndicator' 'NoActiveProbe' 1
    Get-ChildItem "$Services\NetBT\Parameters\Interfaces" | ForEach-Object {
        Set-Registry $_.PSPath.Replace('Microsoft.PowerShell.Core\Registry::HKEY_LOCAL_MACHINE', 'HKLM:') 'NetbiosOptions' 2
    }
}

$Steps['ssh'] = {
    if (-not $Settings.ssh_zip -and -not $Settings.brings_ssh) {
        Write-Output 'no OpenSSH on the disc: the agent is the only way in'
        return
    }
    $data = Join-Path $env:ProgramData 'ssh'
    if ($Settings.ssh_zip) {
        Expand-Archive -LiteralPath (Join-Path $Lab 'OpenSSH.zip') -DestinationPath (Join-Path $Lab 'ssh') -Force
        $found = Get-ChildItem (Join-Path $Lab 'ssh') -Recurse -Filter 'install-sshd.ps1' | Select-Object -First 1
        if (-not $found) {
            throw 'OpenSSH.zip has no install-sshd.ps1'
        }
        $target = Join-Path $env:ProgramFiles 'OpenSSH'
        Copy-Item -LiteralPath $found.DirectoryName -Destination $target -Recurse -Force
        & (Join-Path $target 'install-sshd.ps1')
    }
    $null = New-Item -ItemType Directory -Path $data -Force
    # From 9.4 on sshd does not start where others than these may write. SIDs, because names of groups are translated:
    # Administrators, SYSTEM, and Authenticated Users, who may read.
    Invoke-Program 'icacls.exe' @($data, '/inheritance:r', '/grant', '*S-1-5-32-544:(OI)(CI)F', '/grant', '*S-1-5-18:(OI)(CI)F', '/grant', '*S-1-5-11:(OI)(CI)RX')
    $keys = Join-Path $data 'administrators_authorized_keys'
    Set-Content -LiteralPath $keys -Value $Settings.ssh_key -Encoding Ascii
    Invoke-Program 'icacls.exe' @($keys, '/inheritance:r', '/grant', '*S-1-5-32-544:F', '/grant', '*S-1-5-18:F')
    Invoke-Program 'sc.exe' @('config', 'sshd', 'start=', 'delayed-auto')
    Invoke-Program 'sc.exe' @('failure', 'sshd', 'reset=', '0', 'actions=', 'restart/60000')
    Start-Service sshd
    if (-not (Get-NetFirewallRule -Name 'wsklab-ssh' -ErrorAction SilentlyContinue)) {
        $null = New-NetFirewallRule -Name 'wsklab-ssh' -DisplayName 'wsklab SSH' -Direction Inbound -Action Allow -Protocol TCP -LocalPort 22 -Profile Any
    }
}

$Steps['boot'] = {
    Invoke-Program 'bcdedit.exe' @('/set', '{current}', 'testsigning', 'on')
    Invoke-Program 'bcdedit.exe' @('/set', '{current}', 'nocrashautoreboot', 'on')
    Invoke-Program 'bcdedit.exe' @('/set', '{current}', 'bootstatuspolicy', 'IgnoreAllFailures')
    Invoke-Program 'bcdedit.exe' @('/set', '{current}', 'recoveryenabled', 'no')
    Invoke-Program 'bcdedit.exe' @('/set', '{current}', 'bootmenupolicy', 'legacy')
    Invoke-Program 'bcdedit.exe' @('/timeout', '0')
}

$Steps['crash'] = {
    Set-Registry "$Control\CrashControl" 'CrashDumpEnabled' 2
    Set-Registry "$Control\CrashControl" 'AutoReboot' 0
    Set-Registry "$Control\CrashControl" 'AlwaysKeepMemoryDump' 1
    Set-Registry "$Control\CrashControl" 'NMICrashDump' 1
    Set-Registry "$Control\Session Manager\Memory Management" 'PagingFiles' @('C:\pagefile.sys 4608 4608') 'MultiString'
}

# Read at boot. 0xF: all levels. The driver of the lab prints as IHVDRIVER, plain DbgPrint is DEFAULT.
$Steps['print-filter'] = {
    foreach ($component in 'DEFAULT', 'IHVDRIVER', 'IHVNETWORK') {
        Set-Registry "$Control\Session Manager\Debug Print Filter" $component 0xF
    }
}

# With a debugger attached Windows would load anything; 0x10 keeps its checks of signatures.
$Steps['integrity'] = {
    Set-Registry "$Control\CI" 'DebugFlags' 0x10
    Set-Registry "$Control\CI\Policy" 'VerifiedAndReputablePolicyState' 0
    Set-Registry "$Control\DeviceGuard" 'EnableVirtualizationBasedSecurity' 0
    Set-Registry "$Control\DeviceGuard\Scenarios\HypervisorEnforcedCodeIntegrity" 'Enabled' 0
}

$Steps['quiet'] = {
    Set-Registry 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU' 'NoAutoUpdate' 1
    Set-Registry 'HKLM:\SOFTWARE\Microsoft\Windows\Windows Error Reporting' 'DontShowUI' 1
    Set-Registry "$Control\TimeZoneInformation" 'RealTimeIsUniversal' 1
    foreach ($service in 'wuauserv', 'UsoSvc', 'WSearch', 'SysMain', 'DiagTrack', 'w32time') {
        if (Get-Service -Name $service -ErrorAction SilentlyContinue) {
            Stop-Service -Name $service -Force -ErrorAction SilentlyContinue
            # Windows protects some of them, the Update Orchestrator for one.
            Invoke-Soft $service { Set-Service -Name $service -StartupType Disabled }
        }
    }
    if (Get-Command Add-MpPreference -ErrorAction SilentlyContinue) {
        Invoke-Soft 'Defender' { Add-MpPreference -ExclusionPath $Lab }
    }
}

# SYSTEM at start-up needs no logon. A plain program is no service to Windows, and a task may run for ever. Without
# the priority of a normal program a task gets less time than the driver's own threads, and the disk last of all.
$Steps['tasks'] = {
    $unlimited = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -Priority 4 -RestartCount 3 -RestartInterval (New-TimeSpan -Minutes 1) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries
    $atStart = New-ScheduledTaskTrigger -AtStartup
    $finish = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $Lab\finish.ps1"
    $agent = New-ScheduledTaskAction -Execute "$Lab\wskagent.exe" -Argument 'COM2' -WorkingDirectory $Lab
    $null = Register-ScheduledTask -TaskName 'wsklab-finish' -Action $finish -Trigger $atStart -Settings $unlimited -User 'SYSTEM' -RunLevel Highest -Force
    $null = Register-ScheduledTask -TaskName 'wsklab-agent' -Action $agent -Trigger $atStart -Settings $unlimited -User 'SYSTEM' -RunLevel Highest -Force
    # COM2 is for one: the agent gets it when set-up has said its last word.
    $null = Disable-ScheduledTask -TaskName 'wsklab-agent'
    # The task that runs this; finish.ps1 deletes it.
    $null = Disable-ScheduledTask -TaskName 'wsklab-provision'
}

Send-Marker 'stage=provision'
Invoke-Steps $Steps
Send-Marker 'stage=restart'
exit 0
