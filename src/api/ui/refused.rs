//! What whoever looks at a screen is told when a request comes to nothing.

use http::StatusCode;

use crate::domain::error::Error;

/// A title and a sentence. Nothing of the request is repeated, and nothing about the inside told.
pub(super) fn words(status: StatusCode, error: &Error) -> (&'static str, String) {
    let fixed = |title, sentence: &str| (title, sentence.to_owned());
    match (status.as_u16(), error) {
        (403, Error::Forbidden(denial)) => ("You may not see this", sentence(denial.message())),
        (404, _) => fixed("There is nothing here", "The address may be mistyped, or what it led to is gone."),
        (_, Error::RateLimited { retry_after, .. }) => {
            let seconds = retry_after.as_secs() + 1;
            ("Too many requests", format!("Wait {seconds} seconds, then reload the page."))
        }
        (413, _) => fixed("That is too large", "What was sent is larger than what is taken here."),
        (502, _) => fixed("The application is out of reach", "Reload the page in a moment."),
        (503, _) => fixed("That cannot be done right now", "Reload the page in a moment."),
        (504, _) => fixed("The application takes too long", "Reload the page in a moment."),
        (500, _) => {
            fixed("Something went wrong", "Reload the page in a moment. If that does not help, tell whoever runs it.")
        }
        _ => ("That does not work", sentence(&error.to_string())),
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::Denial;

    #[test]
    fn a_person_is_told_what_happened_and_nothing_of_the_inside() {
        let inside = Error::Internal("the table `users` is gone".into());
        let cases = [
            (403, Error::Forbidden(Denial::Role), "You may not see this", "A required role is missing."),
            (404, Error::NotFound, "There is nothing here", "mistyped"),
            (502, Error::BadGateway, "The application is out of reach", "Reload"),
            (503, Error::UpstreamBusy, "That cannot be done right now", "Reload"),
            (504, Error::GatewayTimeout, "The application takes too long", "Reload"),
            (500, inside, "Something went wrong", "Reload"),
            (405, Error::MethodNotAllowed("GET".to_owned()), "That does not work", "Method not allowed."),
        ];
        for (status, error, title, part) in cases {
            let told = words(StatusCode::from_u16(status).unwrap(), &error);
            assert_eq!(told.0, title);
            assert!(told.1.contains(part) && !told.1.contains("users"), "{told:?}");
        }
    }
}
