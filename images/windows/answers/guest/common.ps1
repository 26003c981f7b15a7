# What provision.ps1 and finish.ps1 share. Windows PowerShell 5.1. Not yet run on Windows.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$Lab = Join-Path $env:SystemDrive 'wsklab'
$Settings = Get-Content -LiteralPath (Join-Path $Lab 'settings.json') -Raw | ConvertFrom-Json

# COM2, because COM1 belongs to the kernel debugger. A missing port is no reason to stop: a log is on the disk.
function Send-Marker([string] $Text) {
    Write-Output $Text
    try {
        $port = New-Object System.IO.Ports.SerialPort 'COM2', 115200
        $port.WriteTimeout = 10000
        $port.Open()
        try {
            $port.Write("WSKLAB-SETUP $($Settings.nonce) $Text`r`n")
        } finally {
            $port.Close()
        }
    } catch {
        Write-Output "COM2: $_"
    }
}

# A program of Windows, and an error unless its exit code is one of those that mean success.
function Invoke-Program([string] $Program, [string[]] $Arguments, [int[]] $Good = @(0)) {
    # With 'Stop', PowerShell 5.1 takes the first word on standard error for the end.
    $ErrorActionPreference = 'Continue'
    & $Program @Arguments 2>&1 | ForEach-Object { Write-Output "$_" }
    if ($Good -notcontains $LASTEXITCODE) {
        throw "$Program $($Arguments -join ' ') ended with $LASTEXITCODE"
    }
}

# What a test does not depend on: it is said when it fails, and the rest goes on.
function Invoke-Soft([string] $What, [scriptblock] $Action) {
    try {
        & $Action
    } catch {
        $message = "$($_.Exception.Message)" -replace '[^\x20-\x7e]', ' '
        Send-Marker "soft $What $message"
    }
}

function Set-Registry([string] $Path, [string] $Name, $Value, [string] $Kind = 'DWord') {
    if (-not (Test-Path -LiteralPath $Path)) {
        $null = New-Item -Path $Path -Force
    }
    $null = New-ItemProperty -LiteralPath $Path -Name $Name -Value $Value -PropertyType $Kind -Force
}

# Runs steps in order, says each before it begins, and stops at the first that fails.
function Invoke-Steps($Steps) {
    foreach ($name in $Steps.Keys) {
        Send-Marker "step=$name"
        try {
            & $Steps[$name]
        } catch {
            $where = $_.InvocationInfo.ScriptLineNumber
            $message = "$($_.Exception.Message)" -replace '[^\x20-\x7e]', ' '
            Send-Marker "fail step=$name line=$where $message"
            exit 1
        }
    }
}
