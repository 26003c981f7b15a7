# After the restart: says what the guest has become, hands COM2 to the agent, and switches off. Not yet run on Windows.
. (Join-Path $PSScriptRoot 'common.ps1')

# What is in force in this boot, which bcdedit cannot say: SystemCodeIntegrityInformation. 0x2 is test signing.
function Get-CodeIntegrity {
    $null = Add-Type -Namespace Wsklab -Name Native -MemberDefinition '[DllImport("ntdll.dll")] public static extern int NtQuerySystemInformation(int kind, int[] buffer, int length, out int written);'
    $buffer = New-Object 'int[]' 2
    $buffer[0] = 8
    $written = 0
    $status = [Wsklab.Native]::NtQuerySystemInformation(103, $buffer, 8, [ref] $written)
    if ($status -ne 0) {
        throw ('NtQuerySystemInformation: 0x{0:x8}' -f $status)
    }
    return $buffer[1]
}

function Get-Report {
    $system = Get-CimInstance Win32_OperatingSystem
    $current = Get-ItemProperty 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $licence = Get-CimInstance SoftwareLicensingProduct -Filter 'PartialProductKey IS NOT NULL' | Select-Object -First 1
    $hostKey = Join-Path $env:ProgramData 'ssh\ssh_host_ed25519_key.pub'
    $sshd = Get-Service sshd -ErrorAction SilentlyContinue
    $report = @{
        caption = $system.Caption
        edition = $current.EditionID
        build = [int]$current.CurrentBuild
        revision = [int]$current.UBR
        code_integrity = Get-CodeIntegrity
        print_filter = (Get-ItemProperty 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Debug Print Filter').DEFAULT
        sshd = if ($sshd) { "$($sshd.Status)" } else { 'absent' }
        ssh_host_key = if (Test-Path -LiteralPath $hostKey) { (Get-Content -LiteralPath $hostKey -Raw).Trim() } else { '' }
        nics = @(Get-NetAdapter | ForEach-Object { @{ name = $_.Name; mac = $_.MacAddress; driver = $_.DriverFileName; status = "$($_.Status)" } })
        licence_status = if ($licence) { [int]$licence.LicenseStatus } else { -1 }
        licence_minutes = if ($licence) { [int64]$licence.GracePeriodRemaining } else { 0 }
    }
    return $report
}

$Steps = [ordered]@{}

# Windows starts it two minutes after its own start; what cannot run must be known now.
$Steps['ssh'] = {
    if ($Settings.ssh_zip -or $Settings.brings_ssh) {
        Start-Service sshd
        (Get-Service sshd).WaitForStatus('Running', [TimeSpan]::FromSeconds(60))
    }
}

$Steps['report'] = {
    $json = Get-Report | ConvertTo-Json -Depth 4 -Compress
    Set-Content -LiteralPath (Join-Path $Lab 'report.json') -Value $json -Encoding Ascii
    $text = [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($json))
    # A line on COM2 is at most 4096 bytes.
    for ($at = 0; $at -lt $text.Length; $at += 2000) {
        Send-Marker "report=$($text.Substring($at, [Math]::Min(2000, $text.Length - $at)))"
    }
}

# Last, so that no boot of set-up waits for a debugger. The port vanishes from Windows at the next start.
$Steps['debugger'] = {
    Invoke-Program 'bcdedit.exe' @('/dbgsettings', 'serial', 'debugport:1', 'baudrate:115200', '/start', 'ACTIVE', '/noumex')
    Invoke-Program 'bcdedit.exe' @('/debug', '{current}', 'on')
}

$Steps['logon'] = {
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
    Set-Registry $key 'AutoAdminLogon' '0' 'String'
    foreach ($name in 'DefaultPassword', 'AutoLogonCount') {
        Remove-ItemProperty -LiteralPath $key -Name $name -ErrorAction SilentlyContinue
    }
    foreach ($file in 'Panther\unattend.xml', 'Panther\unattend-original.xml') {
        Remove-Item -LiteralPath (Join-Path $env:SystemRoot $file) -Force -ErrorAction SilentlyContinue
    }
}

$Steps['agent'] = {
    $null = Enable-ScheduledTask -TaskName 'wsklab-agent'
    $null = Disable-ScheduledTask -TaskName 'wsklab-finish'
    Unregister-ScheduledTask -TaskName 'wsklab-provision' -Confirm:$false
}

Start-Transcript -Path (Join-Path $Lab 'finish.log') | Out-Null
Send-Marker 'stage=finish'
Invoke-Steps $Steps
Send-Marker 'stage=done'
Invoke-Program 'shutdown.exe' @('/s', '/t', '2', '/f', '/d', 'p:4:1')
