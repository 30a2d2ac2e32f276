//! Made-up secrets of many kinds, in the shapes that their issuers publish, each in the text that it is found in.
//!
//! Also compiled into the crate's unit tests: there is one of it.

// Each of the two uses a part of it.
#![allow(dead_code)]

use super::Random;

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const HEX: &str = "0123456789abcdef";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A text with a secret in it.
#[derive(Debug, Clone)]
pub struct Planted {
    /// Must come back as it is, as must `after`.
    pub before: String,
    pub secret: String,
    pub after: String,
    /// The random parts of the secret: none of them may be seen.
    pub hidden: Vec<String>,
}

impl Planted {
    pub fn text(&self) -> String {
        format!("{}{}{}", self.before, self.secret, self.after)
    }

    /// The part of the secret that `output` shows, if any: eight characters in a row, or all of a short secret.
    pub fn seen_in<'a>(&'a self, output: &str) -> Option<&'a str> {
        self.windows().find(|window| output.contains(window))
    }

    /// The parts of the secret of which no output may show one.
    pub fn windows(&self) -> impl Iterator<Item = &str> {
        self.hidden.iter().flat_map(|part| {
            let length = part.len().min(8);
            (0..=part.len() - length).map(move |at| &part[at..at + length])
        })
    }
}

/// A secret of each kind.
pub fn planted(random: &mut Random) -> Vec<Planted> {
    let mut all = Vec::new();
    for shape in TOKEN_SHAPES {
        let (secret, hidden) = fill(random, shape);
        all.push(around_token(random, &secret, hidden));
    }
    for shape in CONTEXT_SHAPES {
        all.push(in_context(random, shape));
    }
    all.extend(private_keys(random));
    all
}

/// Literal text, and `{class:length}` where random characters stand.
const TOKEN_SHAPES: &[&str] = &[
    "sk-ant-api03-{u:93}AA",
    "sk-ant-admin01-{u:93}AA",
    "sk-ant-oat01-{u:93}AA",
    "sk-proj-{u:74}T3BlbkFJ{u:74}",
    "sk-svcacct-{u:58}T3BlbkFJ{u:58}",
    "sk-{a:20}T3BlbkFJ{a:20}",
    "sk-or-v1-{h:64}",
    "AIza{u:35}",
    "GOCSPX-{u:28}",
    "ya29.{u:60}",
    "AKIA{b:16}",
    "ASIA{b:16}",
    "ghp_{a:36}",
    "gho_{a:36}",
    "ghu_{a:36}",
    "ghs_{a:36}",
    "ghr_{a:36}",
    "github_pat_{a:22}_{a:59}",
    "glpat-{u:20}",
    "glrt-{u:20}",
    "gldt-{u:20}",
    "glptt-{h:40}",
    "xoxb-{d:12}-{d:13}-{a:24}",
    "xoxp-{d:12}-{d:12}-{d:12}-{h:32}",
    "xapp-1-A{U:10}-{d:13}-{h:64}",
    "xoxe.xoxp-1-{U:163}",
    "xoxe-1-{U:146}",
    "https://hooks.slack.com/services/T{U:8}/B{U:8}/{a:24}",
    "sk_live_{a:24}",
    "rk_live_{a:99}",
    "sk_test_{a:24}",
    "whsec_{s:32}",
    "npm_{a:36}",
    "pypi-AgEIcHlwaS5vcmc{u:80}",
    "hf_{l:34}",
    "SG.{u:22}.{u:43}",
    "SK{h:32}",
    "dop_v1_{h:64}",
    "doo_v1_{h:64}",
    "dor_v1_{h:64}",
    "dapi{h:32}",
    "dapi{h:32}-2",
    "v1.0-{h:24}-{h:146}",
    "shpat_{h:32}",
    "shpss_{h:32}",
    "dckr_pat_{u:27}",
    "hvs.{u:95}",
    "hvb.{u:140}",
    "lin_api_{a:40}",
    "glsa_{a:32}_{h:8}",
    "glc_{s:60}",
    "sntryu_{h:64}",
    "sntrys_eyJpYXQiO{s:80}_{s:43}",
    "NRAK-{U:27}",
    "PMAK-{h:24}-{h:34}",
    "ntn_{d:11}{a:35}",
    "rubygems_{h:48}",
    "tskey-auth-k{a:11}CNTRL-{a:32}",
    "xai-{a:80}",
    "gsk_{a:52}",
    "r8_{a:37}",
    "pplx-{a:48}",
    "AGE-SECRET-KEY-1{U:58}",
    "ATATT3xFfGF0{u:180}",
    "sbp_{h:40}",
    "pul-{h:40}",
    "pscale_tkn_{u:43}",
    "sha256~{u:43}",
    "lsv2_pt_{h:32}_{h:10}",
    "sgp_{h:16}_{h:40}",
    "dt0c01.{U:24}.{U:64}",
    "A3-{U:6}-{U:11}-{U:5}-{U:5}-{U:5}",
    "ops_eyJ{s:300}",
    "EZAK{a:54}",
    "xkeysib-{h:64}-{a:16}",
    "shippo_live_{h:40}",
    "sq0atp-{u:22}",
    "dp.pt.{a:43}",
    "fo1_{u:43}",
    "fio-u-{u:64}",
    "tk-us-{u:48}",
    "AKCp{a:69}",
    "LTAI{a:20}",
    "FLWSECK_TEST-{h:32}-X",
    "pnu_{a:36}",
    "phc_{a:43}",
    "phx_{a:43}",
    "figd_{u:40}",
    "nfp_{a:36}",
    "CLOJARS_{h:60}",
    "p8e-{a:32}",
    "duffel_live_{u:43}",
    "EAAC{a:120}",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{u:60}.{u:43}",
    "eyJ{u:40}.eyJ{u:200}.{u:342}",
];

/// The text around a secret, with the secret in `«»`.
const CONTEXT_SHAPES: &[&str] = &[
    "aws_secret_access_key = «{s:40}»\n[other]\n",
    "export AWS_SECRET_ACCESS_KEY=«{s:40}»\nnext\n",
    "AWS_SECRET_ACCESS_KEY=«/{s:39}»\nnext\n",
    "\"SecretAccessKey\": \"«{s:40}»\",\n",
    "AWS_SESSION_TOKEN=«{s:300}»\nx\n",
    "client_secret = «{a:3}8Q~{u:34}»\n",
    "the value {a:3}8Q~«{u:34}» expires\n",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=«{s:86}==»;EndpointSuffix=core.windows.net\n",
    "CLOUDFLARE_API_TOKEN=«{u:40}»\nx\n",
    "CLOUDFLARE_API_KEY: «{h:37}»\nx\n",
    "TWILIO_AUTH_TOKEN=«{h:32}»\nx\n",
    "DD_API_KEY=«{h:32}»\nx\n",
    "bot {d:9}:AA«{u:33}» polls\n",
    "Authorization: «Bearer {u:40}»\nHost: x\n",
    "authorization: «Bearer {s:64}»\r\nhost: x\r\n",
    "Authorization: «Basic {s:40}==»\n\n",
    "Proxy-Authorization: «Basic {s:40}»\nHost: x\n",
    "curl -H 'Authorization: «Bearer {u:40}»' https://example.com/x\n",
    "curl -H \"Authorization: «token {a:40}»\" -o out https://x\n",
    "{\"headers\":{\"Authorization\":\"«Bearer {u:40}»\",\"Accept\":\"*/*\"}}\n",
    "{\\\"Authorization\\\":\\\"«Bearer {u:40}»\\\",\\\"a\\\":1}\n",
    "Authorization: «Digest username=\"u\", realm=\"r\", nonce=\"{h:32}\", response=\"{h:32}\"»\nx\n",
    "Authorization: «AWS4-HMAC-SHA256 Credential=AKIA{b:16}/20260101/us-east-1/s3/aws4_request, Signature={h:64}»\nx\n",
    "X-Api-Key: «{a:40}»\nAccept: */*\n",
    "curl -H 'x-api-key: «{a:40}»' https://x\n",
    "PRIVATE-TOKEN: «{u:24}»\nx\n",
    "X-Auth-Token: «{h:32}»\nx\n",
    "Cookie: «session={u:40}; csrf={h:32}»\nHost: x\n",
    "Set-Cookie: «sid={u:40}; Path=/; HttpOnly»\r\nX: y\r\n",
    "curl --cookie x -H 'Cookie: «a={u:30}; b={u:30}»' https://x\n",
    "{\"cookie\":\"«sid={u:40}»\",\"x\":1}\n",
    "postgres://app:«{u:20}»@db.internal:5432/prod?sslmode=require\n",
    "redis://:«{u:24}»@cache:6379/0\n",
    "amqp://guest:«{a:16}%2F{a:6}»@mq/vhost\n",
    "mongodb+srv://admin:«{a:18}»@c0.ab1cd.mongodb.net/x\n",
    "origin\thttps://oauth2:«{u:26}»@git.example.com/a/b.git (fetch)\n",
    "https://user:«p%40{a:12}»@example.com/\n",
    "jdbc:postgresql://h:5432/d?user=u&password=«{a:14}9»&ssl=true\n",
    "jdbc:sqlserver://h:1433;database=d;user=u;password=«{a:14}9»;encrypt=true\n",
    "Server=h;User Id=u;Pwd=«{a:14}7»;Trusted=no\n",
    "OPENAI_API_KEY=«{h:32}»\nx\n",
    "export DB_PASSWORD='«{p:18}»'\necho\n",
    "export DB_PASSWORD=\"«{p:18}»\"\necho\n",
    "password: «{a:15}5»\nuser: x\n",
    "  db_password: \"«{p:20}»\"\n",
    "{\"password\": \"«{p:16}»\", \"user\": \"u\"}\n",
    "{\"apiKey\":\"«{a:32}»\",\"n\":1}\n",
    "{\\\"api_key\\\":\\\"«{a:32}»\\\",\\\"n\\\":1}\n",
    "client_secret = \"«{u:36}»\"\nx = 1\n",
    "secret_key: '«{s:44}»'\n",
    "mysql --user root --password=«{a:13}4» -e 'select 1'\n",
    "tool login --password «{a:13}4» --user u\n",
    "tool --api-key «{a:31}4» run\n",
    "tool --token «{h:31}4» run\n",
    "tool --token=«{h:31}4» run\n",
    "tool --client-secret \"«{a:31}4»\" run\n",
    "curl -u admin:«{a:13}4» https://x/y\n",
    "curl --user 'admin:«{a:13}4»' https://x/y\n",
    "https://x/cb?access_token=«{u:40}»&state=1\n",
    "https://x/blob?sv=2024&sig=«{a:40}%3D»&se=1\n",
    "//registry.npmjs.org/:_authToken=«{a:36}»\nx\n",
    "//registry.example.com/:_password=\"«{s:28}»\"\nx\n",
    "machine github.com login u password «{a:20}7»\n",
    "SECRET_KEY_BASE=«{h:128}»\nx\n",
    "JWT_SECRET: «{a:48}»\nx\n",
    "encryption_key=«{h:64}»\n\n",
    "ENV API_TOKEN «{a:31}3»\nRUN x\n",
    "<password>«{a:13}7»</password>\n",
    "spring.datasource.password=«{a:14}2»\nx\n",
    "$env:API_KEY = \"«{a:32}»\"\n",
    "setx API_KEY \"«{a:32}»\"\n",
];

/// `length` characters of `alphabet`, which is ASCII.
fn text_of(random: &mut Random, alphabet: &str, length: usize) -> String {
    (0..length)
        .map(|_| char::from(*random.pick(alphabet.as_bytes())))
        .collect()
}

fn fill(random: &mut Random, shape: &str) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut hidden = Vec::new();
    let mut rest = shape;
    while let Some((literal, more)) = rest.split_once('{') {
        text.push_str(literal);
        let spec = more
            .split_once('}')
            .filter(|(spec, _)| spec.get(1..2) == Some(":"));
        let Some((spec, more)) = spec else {
            text.push('{');
            rest = more;
            continue;
        };
        let alphabet = match &spec[..1] {
            "a" => ALNUM,
            "b" => BASE32,
            "d" => "0123456789",
            "h" => HEX,
            "l" => &ALNUM[..52],
            "p" => "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789!#%^*+-_=?.",
            "s" => BASE64,
            "U" => "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
            "u" => URL64,
            other => unreachable!("no such class: {other}"),
        };
        let mut part = text_of(random, alphabet, spec[2..].parse().unwrap());
        // A quoted value that begins like a variable or a mask is a placeholder; and something in it is a digit.
        if matches!(&spec[..1], "p" | "u" | "a" | "s") {
            part.replace_range(
                ..2,
                &(text_of(random, UPPER, 1) + &text_of(random, "123456789", 1)),
            );
            let last = part.len() - 1;
            part.replace_range(last.., &text_of(random, ALNUM, 1));
        }
        text.push_str(&part);
        if part.len() >= 4 {
            hidden.push(part);
        }
        rest = more;
    }
    text.push_str(rest);
    (text, hidden)
}

fn around_token(random: &mut Random, secret: &str, hidden: Vec<String>) -> Planted {
    let around = [
        ("the key is ", " and more\n"),
        ("", "\nnext line\n"),
        ("line before\r\n", "\r\nline after\r\n"),
        ("call(\"", "\")\n"),
        ("- `", "`, as text\n"),
        ("<b>", "</b>\n"),
        ("{\"x\":[\"", "\",1]}\n"),
        ("{\\\"x\\\":\\\"", "\\\",1}\n"),
        ("x=", ";\n"),
        ("'", "'"),
        ("\x1b[32m", "\x1b[0m\n"),
        ("https://x/?k=", "&y=2\n"),
    ];
    let (before, after) = *random.pick(&around);
    Planted {
        before: before.to_owned(),
        secret: secret.to_owned(),
        after: after.to_owned(),
        hidden,
    }
}

fn in_context(random: &mut Random, shape: &str) -> Planted {
    let (before, rest) = shape.split_once('«').unwrap();
    let (secret, after) = rest.split_once('»').unwrap();
    let (before, _) = fill(random, before);
    let (secret, hidden) = fill(random, secret);
    let (after, _) = fill(random, after);
    Planted {
        before: format!("some text before\n{before}"),
        secret,
        after,
        hidden,
    }
}

fn private_keys(random: &mut Random) -> Vec<Planted> {
    let mut all = Vec::new();
    for (kind, headers) in [
        ("PRIVATE KEY", ""),
        ("RSA PRIVATE KEY", ""),
        ("EC PRIVATE KEY", ""),
        ("OPENSSH PRIVATE KEY", ""),
        ("ENCRYPTED PRIVATE KEY", ""),
        (
            "RSA PRIVATE KEY",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n",
        ),
        ("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2\n\n"),
    ] {
        let lines: Vec<String> = (0..5).map(|_| text_of(random, BASE64, 64)).collect();
        let last = text_of(random, BASE64, 30) + "==";
        let crc = if kind.starts_with("PGP") {
            "\n=aB3d"
        } else {
            ""
        };
        let key = format!(
            "-----BEGIN {kind}-----\n{headers}{}\n{last}{crc}\n-----END {kind}-----",
            lines.join("\n")
        );
        let hidden: Vec<String> = lines.into_iter().chain([last]).collect();
        for (before, secret, after) in [
            ("text\n", key.clone(), "\nafter it\n"),
            ("text\r\n", key.replace('\n', "\r\n"), "\r\nafter it\r\n"),
            ("{\"key\":\"", key.replace('\n', "\\n"), "\\n\",\"x\":1}\n"),
            (
                "key: |\n",
                format!("  {}", key.replace('\n', "\n  ")),
                "\nother: 1\n",
            ),
        ] {
            all.push(Planted {
                before: before.to_owned(),
                secret,
                after: after.to_owned(),
                hidden: hidden.clone(),
            });
        }
    }
    all
}
