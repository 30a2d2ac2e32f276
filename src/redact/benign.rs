//! Text of many kinds that holds no secret: it comes back byte for byte, however it is split.

use super::tests::{in_two_writes, redactor};

/// Any pause in it changes nothing.
const TEXTS: &[&str] = &[
    // git log
    "commit 8f14e45fceea167a5a36dedd4bea25438f14e45f (HEAD -> main, tag: v1.2.0)\nAuthor: A U Thor <author@example.com>\nDate:   Tue Nov 25 04:47:57 2026 +0000\n\n    Rotate the API token, and say which password is asked for\n\n",
    "index 3b18e512d..9daeafb98 100644\n--- a/src/auth/token.rs\n+++ b/src/auth/token.rs\n@@ -12,7 +12,7 @@ impl Token {\n",
    // Hashes and identifiers
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  coven.tar.gz\nd41d8cd98f00b204e9800998ecf8427e  empty\n",
    "id 0196a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b session=0196a1b2c3d44e5f8a9b0c1d2e3f4a5b\n",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08: Pull complete\n",
    "<img src=\"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==\">\n",
    // Builds
    "npm warn deprecated inflight@1.0.6: This module is not supported\nadded 312 packages, and audited 313 packages in 4s\n",
    "src/login.c:88:23: error: passing argument 1 of 'check_password' makes pointer from integer without a cast\n   88 |   check_password (user->pwd);\n",
    "cc -O2 -DSECRET_SIZE=32 -DTOKEN_MAX=4096 -c src/token.c -o build/token.o\n",
    // Locks
    "      \"integrity\": \"sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg==\",\n",
    "name = \"memchr\"\nversion = \"2.8.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"f8ca58f447f06ed17d5fc4043ce1b10dd205e060fb3ce5b979b8ed8e59ff3f79\"\n",
    // Public keys
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl user@host\n",
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ2hhbmdlIG1lIHRvIHNvbWV0aGluZzAKBggqhkjOPQQD\nAjAvMQswCQYDVQQGEwJERTEgMB4GA1UEAwwX\n-----END CERTIFICATE-----\n",
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n-----END PUBLIC KEY-----\n",
    // Configuration and documentation
    "env:\n- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      name: db\n      key: password\n",
    "Your password is wrong, and the token is unknown: set the token first, then add a password field.\n  password required\n",
    "for (machine, login, password) in entries { check(machine, login, password) }\n",
    "max_tokens: 4096, tokens=12345, tokenizer: gpt2\n",
    "/home/u/.secrets/token.json /etc/ssl/private/key.pem C:\\Users\\u\\token.txt https://example.com:8080/@user/a?page=2\n",
];

/// In it something is assigned to a name that says secret: a pause in the middle of that is judged by the name alone, so
/// that pauses are only between lines.
const ASSIGNING: &[&str] = &[
    "   Compiling regex-automata v0.4.19\nwarning: unused variable: `token`\n  --> src/auth.rs:12:9\n   |\n12 |     let token = next_token();\n   |         ^^^^^ help: prefix it with an underscore: `_token`\n",
    "t.CommaToken = module$contents$third_party$css$tokens$comma1;\nvar key = $jscomp$key$1866876209$17$key.value;\n",
    "PYPIRC_NOPASSWORD = \"\"\"\\\n[distutils]\nproxy=\"socks5h://<username>:<password>@proxy-host\"\n",
    "let token = lexer.next();\nfn password(&self) -> &str { &self.password }\nlet secret: Option<Secret> = None;\nConfig { api_key: api_key.clone(), token }\n",
    "password = getpass.getpass()\ntoken = os.environ[\"API_TOKEN\"]\ndef login(user, password=None, token: str = \"\"):\n    self.secret_key = secret_key\n",
    "const token = await getToken(user);\nif (password !== confirmPassword) throw new Error('password: no match');\nconst { apiKey } = process.env;\nheaders.Authorization = `Bearer ${token}`;\n",
    "token := r.Header.Get(\"Authorization\")\nif err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil {\n\tsecret = cfg.Secret\n",
    "String password = request.getParameter(\"password\");\nthis.token = token;\nprivate static final String TOKEN_HEADER = \"X-Auth-Token\";\n",
    "export API_KEY=<your-api-key>\nAPI_KEY=${API_KEY:-}\npassword: \"{{ vault_password }}\"\nAuthorization: Bearer <token>\nAuthorization: Bearer $TOKEN\n",
    "Set `token` in the file; the password: at least 8 characters. Cookie: see below.\nThe machine has a login, and a password is asked for.\n",
    "authorization = self.headers.get(\"authorization\")\nauthorization: AuthorizationHeaderName\nPWD=/home/u/work\n",
    "sk-folding-cube task-1 disk-0123456789\nsecrets.py:12: token: str = field(default=None)\nPASSWORD=$(pass show x)\npassword: required\n",
];

#[test]
fn text_without_secrets_comes_back_byte_for_byte_wherever_it_is_split() {
    let redactor = redactor();
    let mut changed = Vec::new();
    for (texts, pauses_anywhere) in [(TEXTS, true), (ASSIGNING, false)] {
        for text in texts {
            let splits = (0..=text.len()).filter(|&at| text.is_char_boundary(at));
            let tried = splits.flat_map(|at| {
                let pauses = pauses_anywhere || text[..at].ends_with('\n');
                std::iter::once((at, false)).chain(pauses.then_some((at, true)))
            });
            let outs = tried.map(|(at, paused)| (at, in_two_writes(&redactor, text, at, paused)));
            changed.extend(outs.filter(|(_, out)| out != text).take(1));
        }
    }
    assert!(changed.is_empty(), "{changed:#?}");
}
