/** What to paste on a host to fetch a packed agent and run it. Each verifies whom it talks to before the link is sent. */
import { createHash, X509Certificate } from 'node:crypto';
import type { Address } from '../options/units.ts';
import { formatAddress } from '../options/units.ts';

export interface Download {
  at: Address;
  secret: string;
  /** `sha256/…` */
  pin: string;
  /** PEM. */
  certificate: string;
  /** Of the file, hex. */
  sha256: string;
  /** What the file is called there. */
  name: string;
}

export const linkOf = ({ at, secret }: Pick<Download, 'at' | 'secret'>): string =>
  `https://${formatAddress(at)}/${secret}`;

/**
 * For a POSIX shell. -k says that no CA vouches for the certificate: the pin does, which curl checks nevertheless, and where
 * it can't it stops. The link reaches it through a pipe, from what every shell has built in: arguments of programs are shown
 * to everybody on the host. Nobody else may read the file: it holds a token.
 */
export function curlLine(download: Download): string {
  const { pin, name } = download;
  const curlPin = pin.replace(/^sha256\//, 'sha256//');
  const link = `printf 'url="%s"\\n' '${linkOf(download)}'`;
  const fetch = `curl -q -fsSk --pinnedpubkey '${curlPin}' -o ${name} -K -`;
  return `(umask 077; rm -f ${name} && ${link} | ${fetch} && chmod 700 ${name} && ./${name})`;
}

/**
 * For Windows PowerShell 5.1 and later, as one line: it stops at the first error. By hand over SslStream, since a check of
 * the certificate in PowerShell's own words must run in the thread that connects, and the web commands of 5.1 don't promise
 * that. The certificate and the file are known by their SHA-256.
 */
export function powershellLine({ at, secret, certificate, sha256, name }: Download): string {
  const hash = createHash('sha256').update(new X509Certificate(certificate).raw).digest('hex').toUpperCase();
  const hex = (bytes: string) =>
    `[BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash(${bytes})).Replace('-','')`;
  const steps = [
    `$ErrorActionPreference='Stop'`,
    `$f=Join-Path (Get-Location -PSProvider FileSystem).ProviderPath '${name}'`,
    `$t=New-Object Net.Sockets.TcpClient('${at.host}',${at.port})`,
    `$v=[Net.Security.RemoteCertificateValidationCallback]{param($s,$c) ${hex('$c.GetRawCertData()')} -eq '${hash}'}`,
    `$s=New-Object Net.Security.SslStream($t.GetStream(),$false,$v)`,
    `$s.AuthenticateAsClient('${at.host}',$null,[Security.Authentication.SslProtocols]::Tls12,$false)`,
    `$q=[Text.Encoding]::ASCII.GetBytes("GET /${secret} HTTP/1.0\`r\`nHost: ${formatAddress(at)}\`r\`n\`r\`n")`,
    `$s.Write($q,0,$q.Length)`,
    `$h=''`,
    `while(-not $h.EndsWith("\`r\`n\`r\`n")){$b=$s.ReadByte();if($b -lt 0){throw 'no answer'};$h+=[char]$b}`,
    `if($h -notmatch '^HTTP/1\\.\\d 200 '){throw 'the link is not good (any more)'}`,
    `$o=[IO.File]::Create($f)`,
    `try{$s.CopyTo($o)}finally{$o.Close();$t.Close()}`,
    `if((Get-FileHash $f).Hash -ne '${sha256.toUpperCase()}'){Remove-Item $f;throw 'the file is not whole'}`,
    `& $f`,
  ];
  return `& {${steps.join('; ')}}`;
}
