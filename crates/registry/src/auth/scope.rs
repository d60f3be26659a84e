use std::collections::{BTreeMap, BTreeSet};

/// What a token is for: actions on repositories, in the words of Docker's token specification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scope {
    /// `type:name` and its actions.
    resources: BTreeMap<String, BTreeSet<String>>,
}

impl Scope {
    /// `actions` on a repository.
    pub(crate) fn repository(name: &str, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Self { resources: BTreeMap::from([(format!("repository:{name}"), actions)]) }
    }

    /// Reads scopes with spaces between them.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scope = Self::default();
        for one in text.split_ascii_whitespace().take(MAX_RESOURCES) {
            let Some((resource, actions)) =
                one.rsplit_once(':').filter(|(resource, _)| resource.contains(':'))
            else {
                continue;
            };
            let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned);
            scope.resources.entry(resource.to_owned()).or_default().extend(actions);
        }
        scope
    }

    /// Takes what `other` has, too.
    pub(crate) fn add(&mut self, other: &Self) {
        for (resource, actions) in &other.resources {
            self.resources.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
    }

    /// One text for each resource, in order.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |(resource, actions): (&String, &BTreeSet<String>)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        };
        self.resources.iter().map(text).collect()
    }
}

/// The most resources that a registry may ask for.
const MAX_RESOURCES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_one_resource_become_one() {
        let mut scope = Scope::repository("a/b", &["pull"]);
        scope.add(&Scope::parse("repository:a/b:push,pull repository:c:pull registry:catalog:* x y:z"));
        assert_eq!(scope.texts(), ["registry:catalog:*", "repository:a/b:pull,push", "repository:c:pull"]);
    }
}
