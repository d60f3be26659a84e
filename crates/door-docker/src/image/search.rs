//! `GET /images/search`

use gantry_docker_api::Filters;
use gantry_docker_api::image::SearchResult;
use gantry_engine::image::FoundInRegistry;

use super::from_api;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// The most results of a search.
const MAX_RESULTS: u32 = 100;
/// How many there are unless a client says so.
const RESULTS: u32 = 25;

/// What of the results is wanted.
struct Wanted {
    automated: Option<bool>,
    official: Option<bool>,
    stars: i64,
}

impl Wanted {
    fn of(filters: &Filters) -> Result<Self, Failure> {
        filters.check(&["is-automated", "is-official", "stars"])?;
        let stars = filters.values("stars").map(|text| {
            text.parse::<i64>().map_err(|_| Failure::invalid(format!("invalid filter 'stars={text}'")))
        });
        Ok(Self {
            automated: filters.boolean("is-automated")?,
            official: filters.boolean("is-official")?,
            stars: stars.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or_default(),
        })
    }

    /// Nothing is built by an index any more, as docker says, too.
    fn takes(&self, found: &FoundInRegistry) -> bool {
        self.automated != Some(true)
            && self.official.is_none_or(|official| official == found.is_official)
            && found.star_count >= self.stars
    }
}

/// Looks for repositories.
pub(super) async fn search(call: &Call) -> Outcome {
    let limit = match call.query.number::<u32>("limit")?.unwrap_or_default() {
        0 => RESULTS,
        limit if limit > MAX_RESULTS => {
            return Err(Failure::invalid(format!(
                "limit {limit} is outside the range of [1, {MAX_RESULTS}]"
            )));
        }
        limit => limit,
    };
    let wanted = Wanted::of(&call.filters()?)?;
    let term = call.query.text("term");
    let found = call.door.engine.image_search(term, limit, from_api::credential(call)).await?;
    let results = found.into_iter().filter(|one| wanted.takes(one)).map(|one| SearchResult {
        star_count: one.star_count,
        is_official: one.is_official,
        name: one.name,
        is_automated: false,
        description: one.description,
    });
    Ok(Answer::json(&results.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_docker() {
        let takes = |filters: &[(&str, &str)], official: bool, stars: i64| {
            let mut given = Filters::default();
            filters.iter().for_each(|(key, value)| given.add(*key, *value));
            let found = FoundInRegistry {
                name: "a".into(),
                description: String::new(),
                star_count: stars,
                is_official: official,
                is_automated: true,
            };
            Wanted::of(&given).map(|wanted| wanted.takes(&found))
        };
        assert_eq!(takes(&[], false, 0), Ok(true));
        assert_eq!(takes(&[("is-official", "true")], false, 9), Ok(false));
        assert_eq!(takes(&[("is-automated", "true")], true, 9), Ok(false));
        assert_eq!(takes(&[("is-automated", "false"), ("stars", "3")], true, 3), Ok(true));
        assert_eq!(takes(&[("stars", "3"), ("stars", "5")], true, 4), Ok(false));
        for wrong in [("stars", "x"), ("is-official", "maybe"), ("other", "1")] {
            assert!(takes(&[wrong], true, 1).is_err());
        }
    }
}
