//! A browser without JavaScript: cookies, redirects, forms and the headers browsers add.

use std::collections::BTreeMap;

use regex::Regex;

use super::{Answer, Nauth, Request};

/// One browser, looking at one nauth.
pub(crate) struct Browser<'a> {
    nauth: &'a Nauth,
    cookies: BTreeMap<String, String>,
    /// Where it is now: path and query.
    location: String,
}

impl<'a> Browser<'a> {
    /// A browser that has seen nothing yet.
    pub(crate) fn new(nauth: &'a Nauth) -> Self {
        Self { nauth, cookies: BTreeMap::new(), location: "/".to_owned() }
    }

    /// Types an address; follows redirects.
    pub(crate) async fn open(&mut self, target: &str) -> Answer {
        let answer = self.send(&navigation(Request::get(target), "none")).await;
        target.clone_into(&mut self.location);
        self.follow(answer).await
    }

    /// Types an address; stays where the answer comes from.
    pub(crate) async fn visit(&mut self, target: &str) -> Answer {
        self.send(&navigation(Request::get(target), "none")).await
    }

    /// Sends a form of the page it is on; follows redirects.
    pub(crate) async fn submit(&mut self, form: &Form) -> Answer {
        let target = if form.action.is_empty() { self.location.clone() } else { form.action.clone() };
        let answer = if form.is_post {
            let request = Request::post(&target).form(&form.fields).header("Origin", &self.nauth.origin());
            self.send(&navigation(request, "same-origin")).await
        } else {
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form.fields).finish();
            self.send(&navigation(Request::get(&format!("{target}?{query}")), "same-origin")).await
        };
        self.location = target;
        self.follow(answer).await
    }

    /// What `fetch` of our own pages sends.
    pub(crate) async fn fetch(&mut self, request: Request) -> Answer {
        let request = request
            .header("Sec-Fetch-Site", "same-origin")
            .header("Sec-Fetch-Mode", "cors")
            .header("Sec-Fetch-Dest", "empty")
            .header("Accept", "*/*");
        self.send(&request).await
    }

    /// What `fetch` sends with a body: the origin too.
    pub(crate) async fn fetch_with_origin(&mut self, request: Request) -> Answer {
        let origin = self.nauth.origin();
        self.fetch(request.header("Origin", &origin)).await
    }

    /// Sends a request with the cookies, and nothing else of a browser.
    pub(crate) async fn send(&mut self, request: &Request) -> Answer {
        let answer = self.nauth.send(&request.clone().cookies(&self.cookie_line())).await;
        self.remember(&answer);
        answer
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Changes or adds a cookie.
    pub(crate) fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// The `Cookie` line it would send.
    pub(crate) fn cookie_line(&self) -> String {
        let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    async fn follow(&mut self, mut answer: Answer) -> Answer {
        for _ in 0..10 {
            if ![301, 302, 303, 307, 308].contains(&answer.status) {
                return answer;
            }
            let location = answer.header("location").expect("a redirect says where to").to_owned();
            let own = location.strip_prefix(&self.nauth.origin()).unwrap_or(&location).to_owned();
            assert!(own.starts_with('/') && !own.starts_with("//"), "redirected elsewhere: {location}");
            self.location.clone_from(&own);
            answer = self.send(&navigation(Request::get(&own), "same-origin")).await;
        }
        panic!("redirected in circles: {answer}");
    }

    fn remember(&mut self, answer: &Answer) {
        for line in answer.headers_named("set-cookie") {
            let pair = line.split(';').next().unwrap_or_default();
            let Some((name, value)) = pair.split_once('=') else { continue };
            if value.is_empty() || answer.clears_cookie(name) {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

fn navigation(request: Request, site: &str) -> Request {
    request
        .header("Sec-Fetch-Site", site)
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "document")
        .header("Sec-Fetch-User", "?1")
        .header("Upgrade-Insecure-Requests", "1")
        .header("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
}

/// A form of a page, filled in as far as the page fills it.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    action: String,
    is_post: bool,
    fields: Vec<(String, String)>,
    html: String,
}

impl Form {
    /// The forms of a page.
    pub(crate) fn all_in(page: &Answer) -> Vec<Self> {
        let forms = Regex::new(r"(?is)<form\b([^>]*)>(.*?)</form>").unwrap();
        let html = page.text();
        forms.captures_iter(&html).map(|form| Self::read(&form[1], &form[2])).collect()
    }

    /// The form of a page that has all of these fields.
    #[track_caller]
    pub(crate) fn with_fields(page: &Answer, names: &[&str]) -> Self {
        let mut forms = Self::all_in(page).into_iter();
        let form = forms.find(|form| names.iter().all(|name| form.has(name)));
        form.unwrap_or_else(|| panic!("no form with {names:?} on:\n{page}"))
    }

    /// The form of a page whose own text says this, in any letter case.
    #[track_caller]
    pub(crate) fn saying(page: &Answer, words: &str) -> Self {
        let mut forms = Self::all_in(page).into_iter();
        let form = forms.find(|form| form.html.to_lowercase().contains(&words.to_lowercase()));
        form.unwrap_or_else(|| panic!("no form saying `{words}` on:\n{page}"))
    }

    fn read(attributes: &str, content: &str) -> Self {
        let inputs = Regex::new(r"(?is)<(?:input|button|select)\b([^>]*)>").unwrap();
        let fields = inputs
            .captures_iter(content)
            .filter_map(|input| {
                Some((attribute(&input[1], "name")?, attribute(&input[1], "value").unwrap_or_default()))
            })
            .collect();
        Self {
            action: attribute(attributes, "action").unwrap_or_default(),
            is_post: attribute(attributes, "method").is_some_and(|method| method.eq_ignore_ascii_case("post")),
            fields,
            html: format!("{attributes} {content}"),
        }
    }

    /// Whether it has a field of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(present, _)| present == name)
    }

    /// What one of its `data-` attributes says.
    #[track_caller]
    pub(crate) fn data(&self, name: &str) -> String {
        attribute(&self.html, &format!("data-{name}")).unwrap_or_else(|| panic!("no data-{name}: {}", self.html))
    }

    /// Fills in a field.
    #[track_caller]
    pub(crate) fn fill(mut self, name: &str, value: &str) -> Self {
        let field = self.fields.iter_mut().find(|(present, _)| present == name);
        value.clone_into(&mut field.unwrap_or_else(|| panic!("no field `{name}`")).1);
        self
    }
}

fn attribute(attributes: &str, name: &str) -> Option<String> {
    let quoted = Regex::new(&format!(r#"(?i)(?:^|\s){name}\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))"#)).unwrap();
    let found = quoted.captures(attributes)?;
    let value = (1..=3).find_map(|group| found.get(group))?.as_str();
    let entities = [
        ("&amp;", "&"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&#x2f;", "/"),
        ("&#x2F;", "/"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    Some(entities.iter().rev().fold(value.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
}

#[test]
fn a_form_is_read_with_what_the_page_filled_in() {
    let html = r#"<form method="post" action="/auth/ui/login?return_to=&#x2f;a&amp;b=1"><input name=email>
                  <input type="hidden" name="csrf" value="t"><button name="act" value="go">Go</button></form>"#;
    let page = Answer { status: 200, headers: Vec::new(), body: html.into() };

    let form = Form::with_fields(&page, &["email", "csrf"]).fill("email", "ada@example.com");

    assert_eq!(form.action, "/auth/ui/login?return_to=/a&b=1");
    assert!(form.is_post);
    assert_eq!(form.fields[0].1, "ada@example.com");
    assert_eq!(form.fields[2], ("act".to_owned(), "go".to_owned()));
}
